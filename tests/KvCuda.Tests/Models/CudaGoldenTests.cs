using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Tests.Backends.Cuda;

namespace KvCuda.Tests.Models;

/// <summary>
/// The golden cases through the CUDA backend, on the host runner or a GPU: an independent implementation's tokens and
/// logits in every prefill mode, alone and in a batch, in pages of 16 and of 64. What does not change the sums (batch mates,
/// page size, converged or token by token) does not change a bit.
/// </summary>
public class CudaGoldenTests
{
    public static TheoryData<string> Names() => [.. GoldenCase.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_model_gives_the_golden_logits_and_tokens_in_every_prefill_mode_and_page_size(string name)
    {
        GoldenCase golden = new(name);
        int greedy = golden.Greedy(0, "sequential").Length;
        IReadOnlyList<LogitsRun.Outcome> solo = Golden(golden, golden.Prompts, greedy, new("converged", 16, Batch: false), "sequential");
        ExpectSameBits(solo, Golden(golden, golden.Prompts, greedy, new("converged", 64, Batch: true), "sequential"));

        // Token by token takes a pass per token: of the long prompts it runs the shorter ones.
        IReadOnlyList<int[]> few = [.. golden.Prompts.Where(prompt => prompt.Length <= 65)];
        ExpectSameBits([.. solo.Take(few.Count)], Golden(golden, few, greedy, new("sequential", 16, Batch: true), "sequential"));
        if (few.Count < golden.Prompts.Count)
        {
            return; // no cycles in these: the study's iteration is one pass, as above
        }
        IReadOnlyList<LogitsRun.Outcome> iterated = Golden(golden, few, greedy, new("iterative:7+2", 64, Batch: true), "iterative");
        // One of more tokens than passes, alone.
        ExpectSameBits([iterated[^1]], Golden(golden, [few[^1]], greedy, new("iterative:7+2", 16, Batch: false), null));
    }

    [Theory]
    [InlineData("wide64-mix-window48")]
    [InlineData("sandwich-top")]
    public void A_model_runs_under_every_check_of_the_host_runner(string name)
    {
        GoldenCase golden = new(name);
        (IReadOnlyList<LogitsRun.Outcome> outcomes, _) = CudaModels.Run(golden.Folder, CudaBackendTests.Device, [.. golden.Prompts.Take(4)], 4,
            new("converged", 16, Batch: true));
        for (int prompt = 0; prompt < outcomes.Count; prompt++)
        {
            CudaModels.ExpectClose(golden.Logits(prompt, "sequential"), outcomes[prompt].Logits, $"{name}, prompt {prompt}", 2e-3f);
            Assert.Equal(golden.Greedy(prompt, "sequential")[..4], outcomes[prompt].Greedy);
        }
    }

    [Fact]
    public void Int8_weights_are_refused_with_what_to_do()
    {
        var error = Assert.Throws<InvalidRequestException>(
            () => LoadedModel.Load(Repository.Demo, new() { Device = CudaModels.Device, Weights = "int8" }));
        Assert.Contains("int8 weights need the device cpu", error.Message, StringComparison.Ordinal);
    }

    static IReadOnlyList<LogitsRun.Outcome> Golden(GoldenCase golden, IReadOnlyList<int[]> prompts, int greedy, ModelRun run, string? mode)
    {
        (IReadOnlyList<LogitsRun.Outcome> outcomes, _) = CudaModels.Run(golden.Folder, CudaModels.Device, prompts, greedy, run);
        for (int prompt = 0; prompt < prompts.Count && mode is not null; prompt++)
        {
            string what = $"{Path.GetFileName(golden.Folder)}, {run}, prompt {prompt}";
            CudaModels.ExpectClose(golden.Logits(prompt, mode), outcomes[prompt].Logits, what, 2e-3f);
            Assert.Equal(golden.Greedy(prompt, mode), outcomes[prompt].Greedy);
        }
        return outcomes;
    }

    static void ExpectSameBits(IReadOnlyList<LogitsRun.Outcome> expected, IReadOnlyList<LogitsRun.Outcome> actual)
    {
        for (int prompt = 0; prompt < expected.Count; prompt++)
        {
            Assert.Equal(expected[prompt].Logits, actual[prompt].Logits);
            Assert.Equal(expected[prompt].Greedy, actual[prompt].Greedy);
        }
    }
}
