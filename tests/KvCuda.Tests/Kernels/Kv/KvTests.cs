using KvCuda.Backends;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Kv;

public class KvTests
{
    static readonly int[] positions = [0, 15, 16, 40, 0, 5], sequences = [0, 0, 0, 0, -1, 1];

    public static TheoryData<DType, int, int, int> Shapes => new()
    {
        { DType.F32, 1, 6, 16 }, { DType.BF16, 2, 64, 16 }, { DType.F16, 3, 80, 64 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Rows_are_stored_rounded_and_nothing_else_is_touched(DType type, int kvHeads, int headDim, int pageTokens)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(headDim);
        var kv = new TestKv(random, [41, 6], kvHeads, headDim, type, pageTokens);
        byte[] expected = (byte[])kv.Fill(0, 0).Clone();
        (KvView view, DeviceArray<byte> arena) = kv.On(device);
        int width = kvHeads * headDim;
        Matrix k = Matrix.Random(random, 6, width), v = Matrix.Random(random, 6, width);
        DeviceArray<int> changed = device.Upload<int>([0, 0, 0, 0, 0, 7]);
        var flags = new Tensor("changed", DType.I32, changed.Address, 1, 6);
        BatchRows rows = device.Rows(positions, sequences);
        var kernel = new StoreKv(device.Library);
        kernel.Launch(device.Stream, view, device.Tensor(k), device.Tensor(v), rows, flags);
        Put(kv, expected, k, v);
        SameBits.Check<byte>("store_kv", expected, arena.Read(), "the arena");
        Assert.Equal([1, 1, 1, 1, 0, 1], changed.Read());

        // The same again changes nothing; -0 for 0 does.
        DeviceArray<int> again = device.Upload<int>(new int[6]);
        flags = new("changed", DType.I32, again.Address, 1, 6);
        kernel.Launch(device.Stream, view, device.Tensor(k), device.Tensor(v), rows, flags);
        Assert.Equal(new int[6], again.Read());
        k[3, width - 1] = 0;
        v[5, 0] = 0;
        kernel.Launch(device.Stream, view, device.Tensor(k), device.Tensor(v), rows, default);
        k[3, width - 1] = -0.0;
        v[5, 0] = -0.0;
        kernel.Launch(device.Stream, view, device.Tensor(k), device.Tensor(v), rows, flags);
        Assert.Equal([0, 0, 0, 1, 0, 1], again.Read());
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Zeros_are_stored_for_rows_and_nothing_else_is_touched(DType type, int kvHeads, int headDim, int pageTokens)
    {
        using TestDevice device = TestDevice.Open();
        var kv = new TestKv(new Random(1), [41, 6], kvHeads, headDim, type, pageTokens);
        byte[] expected = (byte[])kv.Fill().Clone();
        (KvView view, DeviceArray<byte> arena) = kv.On(device);
        new ZeroKv(device.Library).Launch(device.Stream, view, device.Rows(positions, sequences));
        var zeros = new Matrix(6, kvHeads * headDim);
        Put(kv, expected, zeros, zeros);
        SameBits.Check<byte>("zero_kv", expected, arena.Read(), "the arena");
    }

    [Theory]
    [InlineData(DType.F32, 6, 3, 4, 2)]
    [InlineData(DType.BF16, 64, 32, 8, 1)]
    [InlineData(DType.F16, 80, 16, 2, 2)] // partial rotation
    public void The_fused_form_has_the_bits_of_its_parts(DType type, int headDim, int pairs, int heads, int kvHeads)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(pairs);
        var kv = new TestKv(random, [41, 6], kvHeads, headDim, type, 16);
        kv.Fill(0, 0);
        (KvView one, DeviceArray<byte> first) = kv.On(device);
        (KvView two, DeviceArray<byte> second) = kv.On(device);
        Matrix q = Matrix.Random(random, 6, heads * headDim), k = Matrix.Random(random, 6, kvHeads * headDim), v = Matrix.Random(random, 6, kvHeads * headDim);
        Tensor cosSin = device.Tensor(Matrix.Random(random, 6, 2 * pairs));
        BatchRows rows = device.Rows(positions, sequences);
        (Tensor q1, Func<float[]> readQ1) = device.InPlace(q);
        (Tensor k1, _) = device.InPlace(k);
        DeviceArray<int> changed = device.Upload<int>(new int[6]);
        Tensor values = device.Tensor(v);
        var rotate = new KvCuda.Kernels.Rope.Rotate(device.Library);
        rotate.Launch(device.Stream, q1, cosSin, headDim);
        rotate.Launch(device.Stream, k1, cosSin, headDim);
        new StoreKv(device.Library).Launch(device.Stream, one, k1, values, rows, default);

        (Tensor q2, Func<float[]> readQ2) = device.InPlace(q);
        new RotateStoreKv(device.Library).Launch(device.Stream, two, q2, device.Tensor(k), values, cosSin, rows,
            new("changed", DType.I32, changed.Address, 1, 6));
        SameBits.Check<float>("rotate_store_kv", readQ1(), readQ2(), "q");
        SameBits.Check<byte>("rotate_store_kv", first.Read(), second.Read(), "the arena");
        Assert.Equal([1, 1, 1, 1, 0, 1], changed.Read());
    }

    static void Put(TestKv kv, byte[] arena, Matrix k, Matrix v)
    {
        byte[] keys = k.Bytes(kv.Type), values = v.Bytes(kv.Type);
        int head = kv.HeadDim * kv.Type.Bytes();
        for (int row = 0; row < positions.Length; row++)
        {
            for (int h = 0; h < kv.KvHeads && sequences[row] >= 0; h++)
            {
                int place = (int)kv.Place(sequences[row], positions[row], h, 0), from = (row * kv.KvHeads + h) * head;
                keys.AsSpan(from, head).CopyTo(arena.AsSpan(place));
                values.AsSpan(from, head).CopyTo(arena.AsSpan((int)(place + kv.ValueBytes)));
            }
        }
    }
}
