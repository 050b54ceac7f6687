using KvCuda.Kernels.Kv;
using KvCuda.Kernels.Matmul;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Matmul;

public class QkvTests
{
    [Theory]
    [InlineData(DType.F32, DType.F32, 1, 5, 2, 1, 6, 3, false)] // unaligned rows
    [InlineData(DType.BF16, DType.BF16, 3, 264, 8, 2, 64, 32, false)]
    [InlineData(DType.F16, DType.F16, 5, 72, 2, 2, 80, 16, true)] // partial rotation, biases
    [InlineData(DType.BF16, DType.F32, 9, 64, 4, 4, 16, 0, true)] // no rotation, more rows than one block takes
    [InlineData(DType.F32, DType.F32, 2, 64, 0, 3, 32, 16, true)] // only keys and values
    [InlineData(DType.F16, DType.BF16, 2, 136, 6, 0, 128, 64, false)] // only queries
    public void The_fused_projections_have_the_bits_of_their_parts(DType type, DType kvType, int rows, int inputs, int heads, int kvHeads,
        int headDim, int pairs, bool biased)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(inputs);
        int[] positions = [.. Enumerable.Range(0, rows).Select(r => r == 1 ? 0 : 14 + r)];
        int[] sequences = [.. Enumerable.Range(0, rows).Select(r => r == 1 ? -1 : r % 2)];
        BatchRows batch = device.Rows(positions, sequences);
        var kv = new TestKv(random, [14 + rows, 14 + rows], Math.Max(1, kvHeads), headDim, kvType, 16);
        kv.Fill(0, 0);
        (KvView one, DeviceArray<byte> first) = kv.On(device);
        (KvView two, DeviceArray<byte> second) = kv.On(device);
        Tensor x = device.Tensor(Matrix.Random(random, rows, inputs));
        Tensor cosSin = pairs > 0 ? device.Tensor(Matrix.Random(random, rows, 2 * pairs)) : default;
        Tensor Weight(int count) => count > 0 ? device.Tensor(Matrix.Random(random, count * headDim, inputs, type), type) : default;
        Tensor Bias(int count) => count > 0 && biased ? device.Tensor(Matrix.Random(random, 1, count * headDim, type), type) : default;
        QkvWeights weights = new(Weight(heads), Bias(heads), Weight(kvHeads), Bias(kvHeads), Weight(kvHeads), Bias(kvHeads));

        var matvec = new Matvec(device.Library);
        (Tensor Tensor, Func<float[]> Read) Part(in Tensor weight, in Tensor bias)
        {
            if (weight.IsNone)
            {
                return (default, () => []);
            }
            (Tensor y, Func<float[]> read) = device.Result(rows, weight.Rows);
            matvec.Launch(device.Stream, y, x, weight, bias, Epilogue.Store);
            return (y, read);
        }
        (Tensor q, Func<float[]> readParts) = Part(weights.Query, weights.QueryBias);
        (Tensor k, _) = Part(weights.Key, weights.KeyBias);
        (Tensor v, _) = Part(weights.Value, weights.ValueBias);
        if (kvHeads > 0)
        {
            new RotateStoreKv(device.Library).Launch(device.Stream, one, q, k, v, cosSin, batch, default);
        }
        else
        {
            new KvCuda.Kernels.Rope.Rotate(device.Library).Launch(device.Stream, q, cosSin, headDim);
        }

        (Tensor fused, Func<float[]> readFused) = heads > 0 ? device.Result(rows, heads * headDim) : (default, () => []);
        Assert.True(MatvecQkv.Takes(fused, weights));
        new MatvecQkv(device.Library).Launch(device.Stream, two, fused, x, weights, cosSin, batch);
        SameBits.Check<float>("matvec_qkv", readParts(), readFused(), "q");
        SameBits.Check<byte>("matvec_qkv", first.Read(), second.Read(), "the arena");
    }

    [Fact]
    public void Projections_of_several_types_are_not_fused()
    {
        using TestDevice device = TestDevice.Open();
        Tensor Weight(DType type) => device.Tensor(new Matrix(8, 8), type);
        Tensor half = Weight(DType.F16), single = Weight(DType.F32), none = default;
        Assert.True(MatvecQkv.Takes(half, new(half, none, half, none, half, none)));
        Assert.False(MatvecQkv.Takes(half, new(half, none, half, none, single, none)));
        Assert.False(MatvecQkv.Takes(half, new(half, half, half, single, half, none)));
        Assert.True(MatvecQkv.Takes(none, new(half, none, single, none, single, half)));
    }
}
