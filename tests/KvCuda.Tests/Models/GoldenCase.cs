using System.Text.Json;

namespace KvCuda.Tests.Models;

/// <summary>One golden folder: prompts, and what an independent implementation makes of them.</summary>
internal sealed class GoldenCase
{
    readonly JsonDocument expected;

    public GoldenCase(string name)
    {
        // A full path is a case of a folder outside.
        Folder = Path.IsPathRooted(name) ? name : Repository.Golden(name);
        using JsonDocument prompts = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "prompts.json")));
        Prompts = [.. prompts.RootElement.EnumerateArray().Select(Ints)];
        expected = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "expected.json")));
    }

    public static IReadOnlyList<string> Names { get; } =
    [
        "llama-standard", "llama-sharded", "llama-bf16", "lasagna-bottom", "pizza-middle", "sandwich-middle", "sandwich-top",
        "yoco", "overlap-nested", "gptneo-w5", "wide64-gqa4-standard", "wide64-mix-window48",
    ];

    /// <summary>The families' cases that are committed: the smallest of each.</summary>
    public static IReadOnlyList<string> Families { get; } =
    [
        "gemma2-softcap", "gemma3-text", "gemma3n-active1", "gemma4-ple-shared", "gemma4-moe",
        "phi4-mini-longrope", "qwen3-moe", "smollm3", "granite",
    ];

    public string Folder { get; }

    public IReadOnlyList<int[]> Prompts { get; }

    /// <param name="prompt">index of the prompt</param>
    /// <param name="mode">sequential or iterative</param>
    public float[] Logits(int prompt, string mode) =>
        [.. Result(prompt, mode).GetProperty("logits_last").EnumerateArray().Select(logit => logit.GetSingle())];

    public int[] Greedy(int prompt, string mode) => Ints(Result(prompt, mode).GetProperty("greedy"));

    JsonElement Result(int prompt, string mode) => expected.RootElement.GetProperty("results")[prompt].GetProperty(mode);

    static int[] Ints(JsonElement array) => [.. array.EnumerateArray().Select(number => number.GetInt32())];
}
