using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.Tensors;
using KvCuda.Tests.Weights;

namespace KvCuda.Tests.Models;

/// <summary>
/// Whole models of random weights whose shapes no golden case has: head dims from 6 to 256, one to eight query heads per
/// key/value head, vocabularies of odd size, every type of weights and of keys and values. The CUDA backend against the CPU's.
/// </summary>
public class CudaShapeTests
{
    /// <summary>A model's shape: two layers of it.</summary>
    /// <param name="Type">of the weights</param>
    /// <param name="KvType">of keys and values</param>
    public sealed record Shape(int HeadDim, int Heads, int KvHeads, int Hidden, int Mlp, int Vocabulary, string Type, string KvType, int PageTokens)
    {
        public override string ToString() => $"head dim {HeadDim}, {Heads} heads on {KvHeads}, vocabulary {Vocabulary}, {Type}, KV {KvType}";
    }

    public static TheoryData<Shape> Shapes() =>
    [
        new Shape(6, 4, 4, 20, 28, 31, "f32", "f32", 16),
        new Shape(16, 8, 1, 40, 64, 1001, "bf16", "f32", 16),
        new Shape(32, 4, 2, 48, 50, 257, "f16", "f16", 64),
        new Shape(64, 8, 2, 64, 72, 333, "bf16", "bf16", 16),
        new Shape(80, 2, 2, 40, 33, 127, "f16", "bf16", 64),
        new Shape(128, 8, 1, 64, 48, 65, "f32", "f16", 16),
        new Shape(256, 4, 1, 32, 40, 63, "bf16", "bf16", 64),
    ];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void A_model_of_any_shape_computes_what_the_cpu_computes(Shape shape)
    {
        using TemporaryFolder folder = new();
        Write(folder, shape);
        int[][] prompts = [.. new[] { 19, 1, 33 }.Select((length, i) => CudaModels.Prompt(i + 1, length, shape.Vocabulary))];
        ModelRun run = new("converged", shape.PageTokens, Batch: true) { KvType = shape.KvType };
        IReadOnlyList<LogitsRun.Outcome> expected = CudaModels.Run(folder.ToString(), "cpu", prompts, 3, run).Outcomes;
        IReadOnlyList<LogitsRun.Outcome> actual = CudaModels.Run(folder.ToString(), CudaModels.Device, prompts, 3, run).Outcomes;
        // A key may round to its neighbour where two orders of a sum disagree in the last bit.
        float tolerance = shape.KvType switch { "bf16" => 2e-2f, "f16" => 4e-3f, _ => 2e-3f };
        CudaModels.ExpectEqual(expected, actual, shape.ToString(), tolerance);
    }

    /// <summary>
    /// Class fast, where tensor cores work on numbers rounded to 16 bits. A prompt of more than 64 rows per step takes the products of
    /// prompt size; one of more than 128 tokens is split at decode. `--stats` (these counters) must show every fast kernel.
    /// </summary>
    [Theory]
    [InlineData("bf16", 64, 8, 2)]
    [InlineData("f16", 128, 4, 1)]
    public void Every_fast_kernel_runs_in_a_whole_model_and_agrees_within_the_rounding(string type, int headDim, int heads, int kvHeads)
    {
        using TemporaryFolder folder = new();
        Shape shape = new(headDim, heads, kvHeads, 128, 96, 517, type, type, 16);
        Write(folder, shape);
        int[] prompt = CudaModels.Prompt(5, 150, shape.Vocabulary);
        ModelRun run = new("converged", 16, Batch: false) { KvType = type, Numerics = Numerics.Fast, MaxRows = 100 };
        LogitsRun.Outcome exact = CudaModels.Run(folder.ToString(), "cpu", [prompt], 4, run with { Numerics = Numerics.Exact }).Outcomes[0];
        (IReadOnlyList<LogitsRun.Outcome> outcomes, string[] stats) = CudaModels.Run(folder.ToString(), CudaModels.Device, [prompt], 4, run);
        string[] fast =
        [
            "kernel matmul_mma", "kernel attend_prefill", "kernel attend_decode_split", "kernel merge_splits", "kernel matvec_qkv",
            "kernel matvec_gate", "kernel rotate_store_kv",
        ];
        Assert.All(fast, kernel => Assert.Contains(kernel, stats));

        // The share of the logits' size that rounding may move: activations have 8 (bf16) or 11 (f16) bits.
        double size = Math.Sqrt(exact.Logits.Average(logit => (double)logit * logit));
        double error = Math.Sqrt(exact.Logits.Zip(outcomes[0].Logits, (e, a) => (double)(e - a) * (e - a)).Average());
        double most = type == "bf16" ? 2e-2 : 4e-3;
        Assert.True(error <= most * size, $"{shape}: tensor cores are {error / size:P2} of the logits' size away from the CPU; {most:P1} is allowed");
    }

    static void Write(TemporaryFolder folder, Shape shape) => CudaModels.WriteRandom(folder, layers: 2, shape.Heads, shape.KvHeads, shape.HeadDim,
        shape.Hidden, shape.Mlp, shape.Vocabulary, DTypes.Parse(shape.Type));
}
