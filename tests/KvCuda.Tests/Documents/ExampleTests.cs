using System.Diagnostics;

namespace KvCuda.Tests.Documents;

/// <summary>The programs under examples/, run as a user would run them.</summary>
public class ExampleTests
{
    [Fact]
    public async Task Embed_writes_text_and_finds_most_of_a_pinned_prompt_in_the_cache()
    {
        string output = await Run("Embed", Repository.Demo);
        Assert.StartsWith(", and I will be my God.", output, StringComparison.Ordinal);
        Assert.Matches(@"\d+ prompt tokens, (6[4-9]|[78]\d) of them from the cache; 16 generated", output);
    }

    [Fact]
    public async Task Sessions_plans_converses_saves_restores_and_slides()
    {
        string output = await Run("Sessions", Repository.Demo);
        Assert.Matches(@"\d+ of \d+ prompt tokens are cached before the request starts", output);
        Assert.Contains("restored 2 messages, 19 tokens", output, StringComparison.Ordinal);
        Assert.Contains("300 tokens in ", output, StringComparison.Ordinal);
        Assert.Contains("pinned", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Chat_answers_a_turn_per_line_of_standard_input()
    {
        string output = await Run("Chat", Repository.Demo, "Call me\nAnd the whale\n");
        Assert.Equal(2, output.Split("input tokens").Length - 1);
    }

    [Fact]
    public async Task Custom_sharing_shows_what_each_map_costs_per_token()
    {
        string[] lines = (await Run("CustomSharing", Repository.Demo)).TrimEnd().Split('\n');
        Assert.Equal(["2,048", "768", "512", "1,024"], lines.Select(line => line.Split(" bytes")[0].Split(' ')[^1]));
    }

    [Fact]
    public async Task An_own_tokenizer_gives_the_engine_its_ids() =>
        Assert.Contains("7 bytes in, 8 tokens out", await Run("OwnTokenizer", Repository.Demo), StringComparison.Ordinal);

    [Fact]
    public Task The_service_answers_and_is_healthy() => Serve("Service", async client =>
    {
        Assert.Equal("Healthy", await client.GetStringAsync("/health"));
        Assert.NotEqual("", await client.GetStringAsync("/ask?q=Call%20me"));
    }, $"--KvCuda:ModelPath={Repository.Demo}", $"--contentRoot={Path.GetDirectoryName(Program("Service"))}");

    [Fact]
    public Task The_live_experiment_counts_every_answer_in_one_of_its_arms() => Serve("LiveExperiment", async client =>
    {
        for (int i = 0; i < 4; i++)
        {
            Assert.NotEqual("", await client.GetStringAsync("/ask?q=Call%20me"));
        }
        using var report = System.Text.Json.JsonDocument.Parse(await client.GetStringAsync("/experiment.json"));
        Assert.Contains("half the KV layers", report.RootElement.GetRawText(), StringComparison.Ordinal);
        Assert.Contains("half the KV layers", await client.GetStringAsync("/experiment"), StringComparison.Ordinal);
    }, $"--model={Repository.Demo}");

    static async Task Serve(string example, Func<HttpClient, Task> use, params string[] options)
    {
        using Process service = Start(example, ["--urls", "http://127.0.0.1:0", .. options]);
        try
        {
            string? line, address = null;
            while (address is null && (line = await service.StandardOutput.ReadLineAsync()) is not null)
            {
                address = line.Contains("Now listening on: ", StringComparison.Ordinal) ? line.Split("on: ")[1].Trim() : null;
            }
            Assert.NotNull(address);
            using HttpClient client = new() { BaseAddress = new(address) };
            await use(client);
        }
        finally
        {
            service.Kill(entireProcessTree: true);
            await service.WaitForExitAsync();
        }
    }

    static string Program(string example) =>
        Path.Combine(Repository.Root, "examples", example, "bin", "Release", "net10.0", example + ".dll");

    static Process Start(string example, params string[] args)
    {
        string program = Program(example);
        Assert.SkipUnless(File.Exists(program), $"{program} is not built: a bundle carries no examples");
        ProcessStartInfo start = new("dotnet", [program, .. args])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = Repository.Root,
        };
        return Process.Start(start)!;
    }

    static async Task<string> Run(string example, string model, string input = "")
    {
        using Process process = Start(example, model);
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.Equal("", await error);
        Assert.Equal(0, process.ExitCode);
        return output;
    }
}
