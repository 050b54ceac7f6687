using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Interop;
using KvCuda.Kernels.Attention;
using KvCuda.Kernels.Kv;
using KvCuda.Kernels.Matmul;
using KvCuda.Kernels.Norm;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;
using SampleKernel = KvCuda.Kernels.Sample.SampleRow;
using SampleRow = KvCuda.Tensors.SampleRow;

namespace KvCuda.Tests.Kernels;

/// <summary>
/// A kernel with a race, or one whose sums depend on who comes first, gives other bits when its threads take turns in another
/// order. The host runner has orders: 0 rising, 1 falling, above shuffled.
/// </summary>
public unsafe class ScheduleTests
{
    [Fact]
    public void Kernels_give_the_same_bits_in_every_order_of_threads()
    {
        Assert.SkipWhen(TestDevice.IsGpu, "a GPU chooses its own order");
        using TestDevice device = TestDevice.Open();
        nint library = NativeLibrary.Load(CudaLibraries.HostRunnerPath()!);
        var set = (delegate* unmanaged<byte*, long, int>)NativeLibrary.GetExport(library, "kvcudaHostSetOption");
        float[] rising = Everything(device);
        try
        {
            for (int seed = 1; seed <= 2; seed++)
            {
                fixed (byte* name = "seed\0"u8)
                {
                    Assert.Equal(0, set(name, seed));
                }
                Assert.Equal(rising, Everything(device));
            }
        }
        finally
        {
            fixed (byte* name = "seed\0"u8)
            {
                _ = set(name, 0);
            }
        }
    }

    // What every kernel with a barrier, an atomic or an asynchronous copy makes of the same numbers.
    static float[] Everything(TestDevice device)
    {
        var random = new Random(12);
        const int rows = 5, heads = 4, headDim = 32, dim = heads * headDim;
        int[] positions = [0, 100, 128, 129, 0], sequences = [0, 1, 1, 1, -1];
        var results = new List<Func<float[]>>();
        Tensor Result(int columns)
        {
            (Tensor y, Func<float[]> read) = device.Result(rows, columns);
            results.Add(read);
            return y;
        }

        Tensor x = device.Tensor(Matrix.Random(random, rows, dim));
        new RmsNorm(device.Library).Launch(device.Stream, Result(dim), x, device.Tensor(Matrix.Random(random, 1, dim)), 1e-5f);
        Tensor weight = device.Tensor(Matrix.Random(random, 40, dim, DType.BF16), DType.BF16);
        new Matvec(device.Library).Launch(device.Stream, Result(40), x, weight, default, Epilogue.Store);
        new MatmulTile(device.Library).Launch(device.Stream, Result(40), x, weight, default, Epilogue.Store);
        new MatmulMma(device.Library).Launch(device.Stream, Result(40), x, weight, default, Epilogue.Store, MatmulMma.Tile.Small);

        var kv = new TestKv(random, [1, 130], 1, headDim, DType.BF16, 16);
        kv.Fill();
        (KvView view, _) = kv.On(device);
        BatchRows batch = device.Rows(positions, sequences);
        var mask = new AttentionMask(0.3f);
        int chunks = Partials.ChunksOf(view);
        Partials partials = Partials.In(device.Output<byte>((int)Partials.Bytes(rows, heads, headDim, chunks)).Address, rows, heads, headDim, chunks);
        new AttendDecodeSplit(device.Library).Launch(device.Stream, x, view, batch, mask, default, partials);
        new MergeSplits(device.Library).Launch(device.Stream, Result(dim), headDim, batch, mask, partials, base2: true);
        new AttendPrefill(device.Library).Launch(device.Stream, Result(dim), x, view, batch, mask, default, single: false);
        new AttendExact(device.Library).Launch(device.Stream, Result(dim), x, view, batch, mask);

        DeviceArray<int> tokens = device.Output<int>(rows), changed = device.Upload<int>(new int[rows]);
        new StoreKv(device.Library).Launch(device.Stream, view, x.View(rows * heads, headDim).Top(rows), x.View(rows * heads, headDim).Top(rows),
            batch, new("changed", DType.I32, changed.Address, 1, rows));
        SampleRow[] parameters = [.. Enumerable.Repeat(new SampleRow { Temperature = 1, TopK = 30, TopP = 0.9f, RepetitionPenalty = 1 }, rows)];
        new SampleKernel(device.Library).Launch(device.Stream, new("tokens", DType.I32, tokens.Address, 1, rows), x,
            new("parameters", DType.I32, device.Upload<int>(MemoryMarshal.Cast<SampleRow, int>(parameters)).Address, rows, SampleRow.Words),
            device.Tensor([0]));
        return [.. results.SelectMany(read => read()), .. tokens.Read().Select(t => (float)t), .. changed.Read().Select(c => (float)c)];
    }
}
