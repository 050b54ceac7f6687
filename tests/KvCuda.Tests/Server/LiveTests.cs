// What the engine is doing, for those who may see it: the page's events, alerts, metrics, dashboards.
using System.Diagnostics;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using KvCuda.Engine;
using KvCuda.Server;
using KvCuda.Tests.Extensions;

namespace KvCuda.Tests.Server;

public sealed partial class LiveTests(ChatModel model) : IClassFixture<ChatModel>
{
    const string Events = "/v1/kvcuda/events", Text = "/v1/completions", Ann = "key-of-ann-1", Ben = "key-of-ben-2", Op = "key-of-operator";
    const string Long = """{"prompt":"And it came to pass in those days, that there went out a decree from the king, that all the people should be numbered.","max_tokens":4}""";

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    static async Task<JsonElement> FirstEventAsync(Served served, string? key = null)
    {
        using HttpResponseMessage response = await served.SendAsync(HttpMethod.Get, Events, key: key);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        using StreamReader reader = new(await response.Content.ReadAsStreamAsync(Cancellation));
        string line = (await reader.ReadLineAsync(Cancellation))!;
        Assert.StartsWith("data: ", line, StringComparison.Ordinal);
        return JsonElement.Parse(line[6..]);
    }

    [Fact]
    public async Task The_arena_is_drawn_as_it_is()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        await served.AskAsync(Text, Long);
        await served.AskAsync(Text, Long);
        await using PrecomputedPrompt pinned = await served.Engine.PrecomputeAsync(string.Concat(Enumerable.Repeat("In the beginning was the word. ", 12)), cancellation: Cancellation);
        KvStatus status = await served.IdleAsync();
        JsonElement event1 = await FirstEventAsync(served);
        string pages = string.Concat(event1.GetProperty("cells").EnumerateObject().Select(cell => cell.Value.GetString()![1..]));
        Assert.Equal(status.CachedPages, pages.Count(state => state == '3'));
        Assert.Equal(status.PinnedPages, pages.Count(state => state == '4'));
        Assert.Equal(status.FreePages, pages.Count(state => state == '0'));
        Assert.True(status is { CachedPages: > 0, PinnedPages: > 0 });
        Assert.Equal(served.Engine.Sharing.Layers, event1.GetProperty("model").GetProperty("reads").GetArrayLength());
        JsonElement now = event1.GetProperty("now");
        Assert.Equal(now.GetProperty("arena").GetInt64(), new[] { "free", "active", "cached", "pinned" }.Sum(state => now.GetProperty(state).GetInt64()));
        Assert.True(now.GetProperty("found").GetInt64() >= 16);
        Assert.True(now.GetProperty("saved_seconds").GetDouble() >= 0);
        JsonElement branch = event1.GetProperty("branches").EnumerateArray().First(branch => branch.GetProperty("text").GetString()!.StartsWith("And it came", StringComparison.Ordinal));
        Assert.True(branch.GetProperty("hits").GetInt64() >= 1);
    }

    [Fact]
    public async Task A_request_that_runs_has_a_row()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        using HttpResponseMessage running = await served.PostAsync(Text, Served.Endless);
        JsonElement request = Assert.Single((await FirstEventAsync(served)).GetProperty("requests").EnumerateArray());
        Assert.Equal("answer", request.GetProperty("state").GetString());
        Assert.True(request.GetProperty("bytes").GetInt64() > 0);
    }

    [Fact]
    public async Task Only_an_operator_sees_what_others_do_and_nobody_their_texts()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with { ApiKeys = [Ann, Ben], OperatorKeys = [Op] });
        await served.AskAsync(Text, Long, Ann);
        Assert.Equal(401, (await Served.ErrorAsync(served.SendAsync(HttpMethod.Get, Events))).Status);
        Assert.Equal(403, (await Served.ErrorAsync(served.SendAsync(HttpMethod.Get, Events, key: Ann))).Status);
        JsonElement seen = await FirstEventAsync(served, Op);
        JsonElement branch = Assert.Single(seen.GetProperty("branches").EnumerateArray());
        Assert.False(branch.TryGetProperty("text", out _));
        Assert.DoesNotContain("came to pass", seen.GetRawText(), StringComparison.Ordinal);
        await using Served without = await Served.StartAsync(model.Folder, options => options with { ApiKeys = [Ann, Ben] });
        Assert.Contains("--operator-key", (await Served.ErrorAsync(without.SendAsync(HttpMethod.Get, Events, key: Ann))).Error.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_of_events_ends_with_the_server()
    {
        Served served = await Served.StartAsync(model.Folder);
        using HttpResponseMessage response = await served.SendAsync(HttpMethod.Get, Events);
        Task<string> all = response.Content.ReadAsStringAsync(Cancellation);
        await served.DisposeAsync();
        await all;
    }

    static KvAlertRule High => new("high", KvFigure.Memory, 0.9, 0.8, TimeSpan.FromSeconds(30));

    [Fact]
    public void An_alert_is_raised_when_its_figure_stayed_beyond_and_over_when_it_is_well_below()
    {
        AlertMonitor monitor = new([High, new("low", KvFigure.HitRate, 0.1, 0.2, TimeSpan.Zero)]);
        List<string> told = [];
        foreach ((int second, double? memory, double? hits) in ((int, double?, double?)[])
            [(0, 0.95, null), (10, 0.85, 0.5), (20, 0.95, 0.05), (40, 0.95, 0.15), (50, 0.99, 0.2), (60, 0.85, null), (70, 0.95, 0.9), (80, 0.8, 0.09), (90, 0.7, 0.3)])
        {
            told.AddRange(monitor.Take(TimeSpan.FromSeconds(second), figure => figure == KvFigure.Memory ? memory : hits)
                .Select(alert => $"{second} {alert.Rule.Name} {(alert.Raised ? "raised" : "over")}"));
        }
        Assert.Equal(["20 low raised", "50 high raised", "50 low over", "80 high over", "80 low raised", "90 low over"], told);
    }

    [Fact]
    public async Task An_alert_is_a_callback_and_a_gauge()
    {
        TaskCompletionSource<KvAlert> raised = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using Served served = await Served.StartAsync(model.Folder, options => options with
        {
            Alerts = [new("any_memory", KvFigure.Memory, -1, -2, TimeSpan.Zero)], OnAlert = alert => raised.TrySetResult(alert),
        });
        Assert.Equal("any_memory", (await raised.Task.WaitAsync(Cancellation)).Rule.Name);
        using HttpResponseMessage metrics = await served.SendAsync(HttpMethod.Get, "/metrics");
        Assert.Contains("kvcuda_alert{kvcuda_alert_name=\"any_memory\"} 1\n", await metrics.Content.ReadAsStringAsync(Cancellation), StringComparison.Ordinal);
    }

    [Fact]
    public void A_quantile_lies_where_its_bucket_says()
    {
        HistogramSums sums = new([1, 2, 4], [10, 10, 0, 0]);
        Assert.Equal(1, sums.Quantile(0.5));
        Assert.Equal(1.9, sums.Quantile(0.95)!.Value, 6);
        Assert.Equal(4, new HistogramSums([1, 2, 4], [0, 0, 0, 3]).Quantile(0.5));
        Assert.Null(HistogramSums.None.Quantile(0.5));
        Assert.Equal([0, 5, 0, 0], sums.Since(new([1, 2, 4], [10, 5, 0, 0])).Counts);
    }

    [Fact]
    public async Task Dashboard_and_rules_ask_for_metrics_that_there_are()
    {
        string folder = Path.Combine(Repository.Root, "src", "KvCuda.Server", "Dashboards");
        using JsonDocument dashboard = JsonDocument.Parse(await File.ReadAllTextAsync(Path.Combine(folder, "grafana.json"), Cancellation));
        string rules = await File.ReadAllTextAsync(Path.Combine(folder, "prometheus-rules.yml"), Cancellation);
        string[] asked = [.. dashboard.RootElement.GetProperty("panels").EnumerateArray().SelectMany(panel => panel.GetProperty("targets").EnumerateArray())
            .Select(target => target.GetProperty("expr").GetString()!).Append(rules.Replace("kvcuda:hit_rate", "", StringComparison.Ordinal))
            .SelectMany(text => Name().Matches(text).Select(match => match.Value)).Distinct()];
        await using Served served = await Served.StartAsync(model.Folder);
        await served.AskAsync(Text, Long);
        string metrics;
        do
        {
            using HttpResponseMessage response = await served.SendAsync(HttpMethod.Get, "/metrics");
            metrics = await response.Content.ReadAsStringAsync(Cancellation);
        }
        while (!metrics.Contains("kvcuda_server_responses_total", StringComparison.Ordinal)); // a response is counted when it has gone
        Assert.NotEmpty(asked);
        Assert.All(asked, name => Assert.True(metrics.Contains($"\n{name}{{", StringComparison.Ordinal) || metrics.Contains($"\n{name} ", StringComparison.Ordinal), name));
        foreach (string label in Label().Matches(rules + dashboard.RootElement.GetRawText()).Select(match => match.Groups[1].Value).Distinct())
        {
            Assert.Contains($"{label}=\"", metrics, StringComparison.Ordinal);
        }
    }

    // Labels of ours are not names of metrics.
    [GeneratedRegex("""\b(?:kvcuda|gen_ai)_(?!model\b|state\b|source\b|cause\b|token_kind\b|finish_reason\b|alert_name\b)[a-z_]+\b""")]
    private static partial Regex Name();

    [GeneratedRegex("""by \((?:le, )?((?:kvcuda|http)_[a-z_]+)""")]
    private static partial Regex Label();

    [Fact]
    public async Task Prometheus_own_tool_finds_nothing_wrong()
    {
        string? tool = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Select(folder => Path.Combine(folder, "promtool")).FirstOrDefault(File.Exists);
        Assert.SkipWhen(tool is null, "promtool (Debian: prometheus) is not installed");
        await using Served served = await Served.StartAsync(model.Folder);
        await served.AskAsync(Text, Long);
        using HttpResponseMessage metrics = await served.SendAsync(HttpMethod.Get, "/metrics");
        Assert.Equal("", await Run(["check", "metrics"], await metrics.Content.ReadAsStringAsync(Cancellation)));
        Assert.Contains("SUCCESS", await Run(["check", "rules", Path.Combine(Repository.Root, "src", "KvCuda.Server", "Dashboards", "prometheus-rules.yml")], ""), StringComparison.Ordinal);

        async Task<string> Run(string[] arguments, string input)
        {
            using Process process = Process.Start(new ProcessStartInfo(tool!, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
            await process.StandardInput.WriteAsync(input);
            process.StandardInput.Close();
            string output = await process.StandardOutput.ReadToEndAsync(Cancellation) + await process.StandardError.ReadToEndAsync(Cancellation);
            await process.WaitForExitAsync(Cancellation);
            return output;
        }
    }

    [Fact]
    public async Task Tokens_are_counted_as_they_are_made_and_what_the_cache_saved()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        KvStatus before = await served.Engine.GetKvStatusAsync(); // a warm-up made tokens too
        await served.AskAsync(Text, Long);
        await served.AskAsync(Text, Long);
        int gaps = 0;
        void Count(in EngineStep step) => gaps += step.Gaps.Length;
        served.Engine.StepCompleted += Count;
        await served.AskAsync(Text, """{"prompt":"Call me","max_tokens":5,"ignore_eos":true}""");
        KvStatus status = await served.IdleAsync();
        served.Engine.StepCompleted -= Count;
        Assert.Equal(4, gaps);
        Assert.Equal(13, status.GeneratedTokens - before.GeneratedTokens);
        Assert.Equal(3, status.Finished[(int)FinishReason.MaxTokens] - before.Finished[(int)FinishReason.MaxTokens]);
        Assert.Equal(status.QueriedTokens - before.QueriedTokens,
            status.ComputedPromptTokens - before.ComputedPromptTokens + status.FoundTokens - before.FoundTokens);
        Assert.True(status.SavedSeconds > 0);
    }
}
