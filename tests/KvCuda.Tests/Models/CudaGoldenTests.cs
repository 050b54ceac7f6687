using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Tests.Backends.Cuda;

namespace KvCuda.Tests.Models;

/// <summary>
/// Whole models through the CUDA backend, on the host runner or a GPU: the golden tokens, and the CPU's logits. The same
/// bits alone and in a batch, whatever the page size.
/// </summary>
public class CudaGoldenTests
{
    const int Greedy = 4;

    public static TheoryData<string> Names() => [.. GoldenCase.Names];

    // The flavour that only runs, where there is no GPU: whole models take a minute under the checks.
    static string Device => CudaBackendTests.Device == "cuda-host" ? "cuda-host:plain" : CudaBackendTests.Device;

    [Theory]
    [MemberData(nameof(Names))]
    public void A_model_gives_the_golden_logits_and_tokens(string name) => Compare(name, Device, prompts: int.MaxValue);

    [Theory]
    [InlineData("wide64-mix-window48")]
    [InlineData("sandwich-top")]
    public void A_model_runs_under_every_check_of_the_host_runner(string name) => Compare(name, CudaBackendTests.Device, prompts: 4);

    static void Compare(string name, string device, int prompts)
    {
        GoldenCase golden = new(name);
        IReadOnlyList<int[]> asked = [.. golden.Prompts.Take(prompts)];
        IReadOnlyList<LogitsRun.Outcome> solo = Run(golden.Folder, device, asked, pageTokens: 16, batch: false);
        IReadOnlyList<LogitsRun.Outcome> batched = Run(golden.Folder, device, asked, pageTokens: 64, batch: true);
        for (int prompt = 0; prompt < solo.Count; prompt++)
        {
            float[] expected = golden.Logits(prompt, "sequential"), actual = solo[prompt].Logits;
            for (int token = 0; token < expected.Length; token++)
            {
                Assert.True(Math.Abs(expected[token] - actual[token]) <= 2e-3f,
                    $"{name}, prompt {prompt}, logit {token}: expected {expected[token]}, got {actual[token]}");
            }
            Assert.Equal(golden.Greedy(prompt, "sequential")[..Greedy], solo[prompt].Greedy);
            Assert.Equal(solo[prompt].Logits, batched[prompt].Logits);
            Assert.Equal(solo[prompt].Greedy, batched[prompt].Greedy);
        }
    }

    [Fact]
    public void The_fast_kernels_run_and_agree_within_the_rounding_of_bf16()
    {
        GoldenCase golden = new("wide64-gqa4-standard");
        int[] prompt = [.. Enumerable.Range(0, 150).Select(i => golden.Prompts[i % golden.Prompts.Count][0])];
        LogitsRun.Outcome exact = Fast("cpu", prompt, out _), fast = Fast(Device, prompt, out string[] kernels);
        for (int token = 0; token < exact.Logits.Length; token++)
        {
            Assert.True(Math.Abs(exact.Logits[token] - fast.Logits[token]) <= 0.1f,
                $"logit {token}: {exact.Logits[token]} on the CPU, {fast.Logits[token]} on tensor cores");
        }
        Assert.All(new[] { "kernel attend_prefill", "kernel attend_decode_split", "kernel merge_splits" }, kernel => Assert.Contains(kernel, kernels));
    }

    static LogitsRun.Outcome Fast(string device, int[] prompt, out string[] kernels)
    {
        using LoadedModel model = LoadedModel.Load(Repository.Golden("wide64-gqa4-standard"), new()
        {
            Device = device,
            PageTokens = 16,
            KvType = "bf16",
            MaxContext = prompt.Length + 4,
            MaxSequences = 1,
            MaxRows = 96,
        });
        LogitsRun.Outcome outcome = new LogitsRun(model, PrefillMode.Converged).Run([prompt], 3)[0];
        kernels = [.. model.Backend.Counters.Snapshot().Select(counter => counter.Name)];
        return outcome;
    }

    static List<LogitsRun.Outcome> Run(string folder, string device, IReadOnlyList<int[]> prompts, int pageTokens, bool batch)
    {
        using LoadedModel model = LoadedModel.Load(folder, new()
        {
            Device = device,
            Numerics = Numerics.Exact,
            PageTokens = pageTokens,
            KvType = "f32",
            MaxContext = prompts.Max(prompt => prompt.Length) + Greedy,
            MaxSequences = batch ? prompts.Count : 1,
            MaxRows = 64,
            Prefill = PrefillMode.Converged,
        });
        LogitsRun run = new(model, PrefillMode.Converged);
        return batch
            ? [.. run.Run(prompts, Greedy)]
            : [.. prompts.Select(prompt => run.Run([prompt], Greedy)[0])];
    }
}
