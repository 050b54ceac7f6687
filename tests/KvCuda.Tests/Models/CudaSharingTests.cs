using KvCuda.Engine;
using KvCuda.Tensors;
using KvCuda.Tests.Weights;

namespace KvCuda.Tests.Models;

/// <summary>
/// Every named way to share layers as a whole model of random weights: the CUDA backend gives what the CPU's gives, in every
/// prefill mode, alone and in a batch, in pages of 16 and of 64. One model serves all: every layer has weights for keys and values.
/// </summary>
public sealed class CudaSharingTests(CudaSharingTests.Model model) : IClassFixture<CudaSharingTests.Model>
{
    const int Layers = 6, Vocabulary = 97, Greedy = 3;

    public sealed class Model : IDisposable
    {
        readonly TemporaryFolder folder = new();

        public Model() => CudaModels.WriteRandom(folder, Layers, heads: 4, kvHeads: 2, headDim: 16, hidden: 64, mlp: 96, Vocabulary, DType.F32);

        internal string Folder => folder.ToString();

        public void Dispose() => folder.Dispose();
    }

    public static TheoryData<string> Maps() =>
    [
        "standard", "pizza-bottom:3", "pizza-middle:3", "pizza-top:2", "sandwich-bottom:3", "sandwich-middle:3", "sandwich-top:2",
        "lasagna-bottom:2", "lasagna-middle:3", "lasagna-top:2", "pizza-top:3,keep-first", "lasagna-top:2,keep-first", "cla:2", "yoco:12",
        "lckv:2", "mlkv:2", "mixattention:12", "0_3_5_3_2_5",
    ];

    [Theory]
    [MemberData(nameof(Maps))]
    public void A_shared_model_computes_what_the_cpu_computes(string map)
    {
        // Within a page, one full page, past it, and (with the generated tokens) over the boundary.
        int[][] prompts = [.. new[] { 1, 16, 14, 21 }.Select((length, i) => CudaModels.Prompt(i + 1, length, Vocabulary))];
        foreach (ModelRun run in new ModelRun[]
        {
            new("converged", 16, Batch: false), new("sequential", 64, Batch: true), new("iterative:7+2", 16, Batch: true),
        })
        {
            ModelRun mapped = run with { Sharing = map };
            IReadOnlyList<LogitsRun.Outcome> expected = CudaModels.Run(model.Folder, "cpu", prompts, Greedy, mapped).Outcomes;
            IReadOnlyList<LogitsRun.Outcome> actual = CudaModels.Run(model.Folder, CudaModels.Device, prompts, Greedy, mapped).Outcomes;
            CudaModels.ExpectEqual(expected, actual, mapped.ToString());
        }
    }
}
