using KvCuda.Backends.Cpu;
using KvCuda.Tensors;
using KvCuda.Tests.Kernels;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Backends.Cpu;

public sealed class AttentionTests
{
    static readonly AttentionMask[] masks =
    [
        new(0.25f), new(1, Window: 40), new(0.25f, StrictlyEarlier: true), new(0.25f, Window: 33),
        new(0.5f, Window: 1, StrictlyEarlier: true),
    ];

    // A ragged batch: a lone first token, decodes at page and chunk boundaries, padding, and a prompt across the boundary of a chunk.
    static readonly int[] lengths = [1, 130, 300];
    static readonly int[] positions = [0, 127, 128, 129, 0, 15, 16, .. Enumerable.Range(100, 45), 255, 256, 299, 0];
    static readonly int[] sequences = [0, 1, 1, 1, -1, 2, 2, .. Enumerable.Repeat(2, 45), 2, 2, 2, -1];

    [Theory]
    [InlineData(DType.F32, 6, 2, 2, 16)]
    [InlineData(DType.F32, 64, 4, 2, 64)]
    [InlineData(DType.F16, 80, 4, 1, 16)]
    [InlineData(DType.BF16, 128, 8, 1, 16)]
    [InlineData(DType.BF16, 64, 3, 3, 128)]
    [InlineData(DType.BF16, 36, 10, 2, 32)]
    public void Attention_equals_its_formula_with_the_same_bits_alone_in_tiles_and_on_every_instruction_set(
        DType type, int headDim, int heads, int kvHeads, int pageTokens)
    {
        var random = new Random(headDim);
        var kv = new TestKv(random, lengths, kvHeads, headDim, type, pageTokens);
        kv.Fill();
        Matrix q = Matrix.Random(random, positions.Length, heads * headDim);
        foreach (AttentionMask mask in masks)
        {
            float[]? first = null;
            foreach (InstructionSet set in CpuTensors.Sets)
            {
                using var backend = new CpuBackend(2, set);
                KvView view = kv.On(backend);
                Tensor x = backend.Upload(q), whole = backend.Result(q.Rows, q.Columns), alone = backend.Result(q.Rows, q.Columns);
                Tensor p = backend.Upload(positions), s = backend.Upload(sequences);
                backend.Attend(whole, x, view, new(p, p, s), mask);
                if (first is null)
                {
                    first = whole.Span<float>().ToArray();
                    Tolerance.Attention.Check($"{mask}", first, Expected(kv, q, mask, heads));
                }
                for (int row = 0; row < q.Rows; row++)
                {
                    Tensor one = p.Range(row, 1);
                    backend.Attend(alone.Slice(row, 1), x.Slice(row, 1), view, new(one, one, s.Range(row, 1)), mask);
                }
                Assert.True(whole.Span<float>().SequenceEqual(first), $"{set}, {mask}");
                Assert.True(alone.Span<float>().SequenceEqual(first), $"{set}, {mask}, row by row");
            }
        }
    }

    static Matrix Expected(TestKv kv, Matrix q, AttentionMask mask, int heads)
    {
        var y = new Matrix(q.Rows, q.Columns);
        for (int row = 0; row < q.Rows; row++)
        {
            for (int head = 0; head < heads && sequences[row] >= 0; head++)
            {
                int kvHead = head / (heads / kv.KvHeads);
                AttentionReference.Attend(q.Row(row).Slice(head * kv.HeadDim, kv.HeadDim), kv.Head(kv.Keys[sequences[row]], kvHead),
                    kv.Head(kv.Values[sequences[row]], kvHead), positions[row], mask).CopyTo(y.Row(row)[(head * kv.HeadDim)..]);
            }
        }
        return y;
    }
}
