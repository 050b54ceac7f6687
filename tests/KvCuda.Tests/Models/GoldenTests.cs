using KvCuda.Engine;
using KvCuda.Model;

namespace KvCuda.Tests.Models;

/// <summary>Whole models against an independent implementation: tokens equal, logits within 2e-3 (design's tolerance at f32).</summary>
public class GoldenTests
{
    const float Tolerance = 2e-3f;

    public static TheoryData<string, string, int, bool> Cases()
    {
        TheoryData<string, string, int, bool> data = [];
        foreach (string name in GoldenCase.Names)
        {
            foreach (string mode in new[] { "sequential", "converged", "iterative:7+2" })
            {
                foreach (int pageTokens in new[] { 16, 64 })
                {
                    data.Add(name, mode, pageTokens, false);
                    data.Add(name, mode, pageTokens, true);
                }
            }
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_model_gives_the_golden_logits_and_tokens(string name, string prefill, int pageTokens, bool batch)
    {
        GoldenCase golden = new(name);
        IReadOnlyList<LogitsRun.Outcome> outcomes = Run(golden, prefill, pageTokens, batch);
        string mode = prefill.StartsWith("iterative", StringComparison.Ordinal) ? "iterative" : "sequential";
        Assert.Equal(golden.Prompts.Count, outcomes.Count);
        for (int prompt = 0; prompt < outcomes.Count; prompt++)
        {
            float[] expected = golden.Logits(prompt, mode), actual = outcomes[prompt].Logits;
            for (int token = 0; token < expected.Length; token++)
            {
                Assert.True(Math.Abs(expected[token] - actual[token]) <= Tolerance,
                    $"{name}, prompt {prompt}, logit {token}: expected {expected[token]}, got {actual[token]}");
            }
            Assert.Equal(golden.Greedy(prompt, mode), outcomes[prompt].Greedy);
        }
    }

    [Theory]
    [InlineData("sandwich-top", "f32")]
    [InlineData("overlap-nested", "f32")]
    [InlineData("pizza-middle", "bf16")]
    [InlineData("sandwich-middle", "f16")]
    public void Converged_prefill_has_the_bits_of_token_by_token(string name, string kvType)
    {
        GoldenCase golden = new(name);
        IReadOnlyList<LogitsRun.Outcome> sequential = Run(golden, "sequential", 16, batch: false, kvType);
        IReadOnlyList<LogitsRun.Outcome> converged = Run(golden, "converged", 64, batch: true, kvType);
        for (int prompt = 0; prompt < sequential.Count; prompt++)
        {
            Assert.Equal(sequential[prompt].Logits, converged[prompt].Logits);
            Assert.Equal(sequential[prompt].Greedy, converged[prompt].Greedy);
        }
    }

    [Theory]
    [InlineData("llama-bf16")]
    [InlineData("wide64-mix-window48")]
    [InlineData("gptneo-w5")]
    public void A_sequence_has_the_same_bits_alone_and_in_a_batch_with_any_number_of_threads(string name)
    {
        GoldenCase golden = new(name);
        IReadOnlyList<LogitsRun.Outcome> solo = Run(golden, "converged", 16, batch: false, threads: 1);
        IReadOnlyList<LogitsRun.Outcome> batched = Run(golden, "converged", 64, batch: true, threads: 3);
        for (int prompt = 0; prompt < solo.Count; prompt++)
        {
            Assert.Equal(solo[prompt].Logits, batched[prompt].Logits);
        }
    }

    internal static List<LogitsRun.Outcome> Run(GoldenCase golden, string prefill, int pageTokens, bool batch, string kvType = "f32",
        int threads = 0)
    {
        PrefillMode mode = PrefillMode.Parse(prefill);
        int greedy = golden.Greedy(0, "sequential").Length;
        using LoadedModel model = LoadedModel.Load(golden.Folder, new()
        {
            Device = "cpu",
            Threads = threads,
            PageTokens = pageTokens,
            KvType = kvType,
            MaxContext = golden.Prompts.Max(prompt => prompt.Length) + greedy,
            MaxSequences = batch ? golden.Prompts.Count : 1,
            MaxStepTokens = mode.Kind == PrefillKind.Iterative ? golden.Prompts.Sum(prompt => prompt.Length) : 64,
            Prefill = mode,
        });
        LogitsRun run = new(model, mode);
        return batch
            ? [.. run.Run(golden.Prompts, greedy)]
            : [.. golden.Prompts.Select(prompt => run.Run([prompt], greedy)[0])];
    }
}
