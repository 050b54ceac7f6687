using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using KvCuda.Engine;
using KvCuda.Tests.Extensions;
using KvCuda.Text;

namespace KvCuda.Tests.Server;

/// <summary>What is answered over HTTP is what the engine says.</summary>
public sealed partial class AnswerTests(ChatModel model) : IClassFixture<ChatModel>, IAsyncLifetime
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    Served served = null!;

    public async ValueTask InitializeAsync() => served = await Served.StartAsync(model.Folder);

    public ValueTask DisposeAsync() => served.DisposeAsync();

    static string Text(JsonElement answer) => answer.GetProperty("choices")[0] is var choice && choice.TryGetProperty("message", out JsonElement message)
        ? message.GetProperty("content").GetString()! : choice.GetProperty("text").GetString()!;

    [Theory]
    [InlineData("")]
    [InlineData(""","temperature":0.9,"top_p":0.95,"seed":7,"kvcuda":{"top_k":40,"min_p":0.01,"repetition_penalty":1.1}""")]
    [InlineData(""","stop":["the ","."]""")]
    public async Task A_streamed_chat_is_the_whole_one_and_the_engine_s_own_text(string options)
    {
        string asked = """{"model":"demo","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Call "},{"type":"text","text":"me"}]}],"max_completion_tokens":24"""
            + options;
        ChatFormat format = model.Engine.LoadChatFormat()!;
        GenerateOptions generate = new() { MaxTokens = 24 };
        generate = options.Contains("seed", StringComparison.Ordinal)
            ? generate with { Temperature = 0.9f, TopP = 0.95f, Seed = 7, TopK = 40, MinP = 0.01f, RepetitionPenalty = 1.1f }
            : options.Length > 0 ? generate with { Stop = ["the ", "."] } : generate;
        GenerationResult expected = await Whole(format.Encode(format.Render([new("system", "Be brief."), new("user", "Call me")])), generate);

        JsonElement whole = await served.AskAsync("/v1/chat/completions", asked + "}");
        Assert.Equal(expected.Text, Text(whole));
        Assert.Equal("chat.completion", whole.GetProperty("object").GetString());
        Assert.Equal(expected.FinishReason == FinishReason.MaxTokens ? "length" : "stop", whole.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(expected.PromptTokens, whole.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
        Assert.Equal(expected.GeneratedTokens, whole.GetProperty("usage").GetProperty("completion_tokens").GetInt32());

        List<JsonElement> chunks = await served.StreamAsync("/v1/chat/completions", asked + ""","stream":true,"stream_options":{"include_usage":true}}""");
        Assert.All(chunks, chunk => Assert.Equal("chat.completion.chunk", chunk.GetProperty("object").GetString()));
        Assert.Single(chunks.Select(chunk => chunk.GetProperty("id").GetString()).Distinct());
        Assert.Equal("assistant", chunks[0].GetProperty("choices")[0].GetProperty("delta").GetProperty("role").GetString());
        Assert.Equal(expected.Text, string.Concat(chunks[..^1].Select(chunk =>
            chunk.GetProperty("choices")[0].GetProperty("delta").TryGetProperty("content", out JsonElement content) ? content.GetString() : "")));
        Assert.All(chunks[..^1], chunk => Assert.Equal(JsonValueKind.Null, chunk.GetProperty("usage").ValueKind));
        Assert.All(chunks[..^2], chunk => Assert.Equal(JsonValueKind.Null, chunk.GetProperty("choices")[0].GetProperty("finish_reason").ValueKind));
        Assert.NotEqual(JsonValueKind.Null, chunks[^2].GetProperty("choices")[0].GetProperty("finish_reason").ValueKind);
        Assert.Equal(0, chunks[^1].GetProperty("choices").GetArrayLength());
        Assert.Equal(expected.GeneratedTokens, chunks[^1].GetProperty("usage").GetProperty("completion_tokens").GetInt32());
    }

    [Fact]
    public async Task A_text_goes_on_as_the_engine_s_own_from_text_and_from_tokens()
    {
        GenerationResult expected = await Whole(model.Engine.Tokenizer!.EncodeToIds("Call me", SpecialTokens.Add), new() { MaxTokens = 16 });
        string tokens = JsonSerializer.Serialize(model.Engine.Tokenizer!.EncodeToIds("Call me", SpecialTokens.Add));
        foreach (string prompt in (string[])["\"Call me\"", "[\"Call me\"]", tokens, $"[{tokens}]"])
        {
            Assert.Equal(expected.Text, Text(await served.AskAsync("/v1/completions", $$"""{"prompt":{{prompt}}}""")));
        }
        List<JsonElement> chunks = await served.StreamAsync("/v1/completions", """{"prompt":"Call me","stream":true}""");
        Assert.Equal(expected.Text, string.Concat(chunks.Select(Text)));
        Assert.All(chunks, chunk => Assert.False(chunk.TryGetProperty("usage", out _)));
    }

    async Task<GenerationResult> Whole(IReadOnlyList<int> prompt, GenerateOptions generate)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in model.Engine.GenerateAsync(prompt, generate, Cancellation))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    [Fact]
    public async Task A_second_request_shows_its_cached_tokens()
    {
        const string asked = """{"prompt":"And it came to pass in those days, that there went out a decree from the king, that all the people should be numbered.","max_tokens":4}""";
        Assert.Equal(0, Cached(await served.AskAsync("/v1/completions", asked)));
        Assert.True(Cached(await served.AskAsync("/v1/completions", asked)) >= 16);
        Assert.Equal(0, Cached(await served.AskAsync("/v1/completions", asked.Replace("}", ""","kvcuda":{"salt":"another"}}""", StringComparison.Ordinal))));
        Assert.Equal(0, Cached(await served.AskAsync("/v1/completions", asked.Replace("}", ""","kvcuda":{"cache":"none"}}""", StringComparison.Ordinal))));
    }

    static int Cached(JsonElement answer) => answer.GetProperty("usage").GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32();

    [Fact]
    public async Task Log_probabilities_spell_the_text()
    {
        JsonElement chat = await served.AskAsync("/v1/chat/completions",
            """{"messages":[{"role":"user","content":"Call me"}],"max_tokens":8,"logprobs":true,"top_logprobs":3}""");
        JsonElement[] content = [.. chat.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content").EnumerateArray()];
        Assert.Equal(8, content.Length);
        Assert.Equal(Text(chat), string.Concat(content.Select(token => token.GetProperty("token").GetString())));
        Assert.All(content, token => Assert.Equal(3, token.GetProperty("top_logprobs").GetArrayLength()));
        Assert.All(content, token => Assert.Equal(token.GetProperty("logprob").GetSingle(), token.GetProperty("top_logprobs")[0].GetProperty("logprob").GetSingle()));

        JsonElement text = await served.AskAsync("/v1/completions", """{"prompt":"Call me","max_tokens":8,"logprobs":2}""");
        JsonElement columns = text.GetProperty("choices")[0].GetProperty("logprobs");
        Assert.Equal(Text(text), string.Concat(columns.GetProperty("tokens").EnumerateArray().Select(token => token.GetString())));
        Assert.Equal(8, columns.GetProperty("token_logprobs").GetArrayLength());
        Assert.Equal("Call me".Length, columns.GetProperty("text_offset")[0].GetInt32());
    }

    [Fact]
    public async Task The_model_is_listed_and_the_page_needs_nothing_from_elsewhere()
    {
        using HttpResponseMessage models = await served.SendAsync(HttpMethod.Get, "/v1/models");
        JsonElement only = Assert.Single(JsonElement.Parse(await models.Content.ReadAsStringAsync(Cancellation)).GetProperty("data").EnumerateArray());
        Assert.Equal("demo", only.GetProperty("id").GetString());
        Assert.True(only.GetProperty("kvcuda").GetProperty("chat").GetBoolean());
        foreach (string path in (string[])["/v1/models/demo", "/health", "/ready"])
        {
            using HttpResponseMessage fine = await served.SendAsync(HttpMethod.Get, path);
            Assert.True(fine.IsSuccessStatusCode, path);
        }
        using HttpResponseMessage page = await served.SendAsync(HttpMethod.Get, "/");
        string html = await page.Content.ReadAsStringAsync(Cancellation);
        Assert.DoesNotContain("http:", html, StringComparison.Ordinal);
        Assert.DoesNotContain("https:", html, StringComparison.Ordinal);
        Assert.DoesNotContain("innerHTML", html, StringComparison.Ordinal);
        Assert.Contains("default-src 'none'", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Metrics_are_what_Prometheus_reads_and_tell_what_happened()
    {
        Dictionary<string, double> before = await Metrics();
        const string asked = """{"messages":[{"role":"user","content":"Call me Ishmael, and tell me of the whale and of the sea."}],"max_tokens":5}""";
        int prompt = (await served.AskAsync("/v1/chat/completions", asked)).GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
        await served.AskAsync("/v1/chat/completions", asked);
        Dictionary<string, double> after;
        do
        {
            after = await Metrics();
        }
        while ((Of("kvcuda_store_tokens_found_total") < 16 || Of("kvcuda_server_responses_total", "/v1/chat/completions") < 2)
            && !Cancellation.IsCancellationRequested); // the store is asked every 100 ms at most; a response is counted when it has gone
        Assert.Equal(2, Of("gen_ai_server_time_to_first_token_seconds_count"));
        Assert.Equal(2, Of("gen_ai_server_time_to_first_token_seconds_bucket", "le=\"+Inf\""));
        Assert.Equal(2, Of("gen_ai_server_time_per_output_token_seconds_count"));
        Assert.Equal(2 * prompt, Of("gen_ai_client_token_usage_sum", "input"));
        Assert.Equal(10, Of("gen_ai_client_token_usage_sum", "output"));
        Assert.Equal(2, Of("kvcuda_server_responses_total", "/v1/chat/completions", "\"200\""));
        Assert.True(Of("kvcuda_store_tokens_found_total") >= 16);
        Assert.True(Of("kvcuda_store_hit_rate") > 0);
        Assert.Equal(4, after.Keys.Count(name => name.StartsWith("kvcuda_store_bytes{", StringComparison.Ordinal)));
        Assert.Equal(0, Of("kvcuda_requests", "waiting"));

        double Of(string name, params string[] labels) => after.Where(line => line.Key.StartsWith(name, StringComparison.Ordinal) && labels.All(label => line.Key.Contains(label, StringComparison.Ordinal)))
            .Sum(line => line.Value - before.GetValueOrDefault(line.Key));
    }

    async Task<Dictionary<string, double>> Metrics()
    {
        using HttpResponseMessage response = await served.SendAsync(HttpMethod.Get, "/metrics");
        Dictionary<string, double> values = [];
        HashSet<string> described = [];
        foreach (string line in (await response.Content.ReadAsStringAsync(Cancellation)).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.StartsWith("# TYPE ", StringComparison.Ordinal))
            {
                Assert.True(described.Add(line.Split(' ')[2]), line);
            }
            else if (!line.StartsWith("# HELP ", StringComparison.Ordinal))
            {
                Match match = Sample().Match(line);
                Assert.True(match.Success, line);
                string family = match.Groups[1].Value;
                Assert.True(described.Contains(family) || described.Contains(family[..family.LastIndexOf('_')]), line);
                values.Add(match.Groups[1].Value + match.Groups[2].Value, double.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture));
            }
        }
        return values;
    }

    [GeneratedRegex("""^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",?)*\})? ([-+0-9.eE]+)$""")]
    private static partial Regex Sample();
}
