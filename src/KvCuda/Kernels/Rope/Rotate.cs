using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Rope;

/// <summary>Rotates the heads of every row in place. Device code: kernels/rope/rotate.cu.</summary>
internal sealed class Rotate(KernelLibrary library) : IKernel
{
    const int Threads = 128;

    public struct Args
    {
        public nint X, CosSin;
        public int Heads, HeadDim, Pairs;
    }

    readonly Variants<int, Args> variants = new(library, _ => Source());

    /// <summary>One pair per thread: nothing to keep.</summary>
    public static KernelBudget Budget => new(Registers: 32);

    public static IEnumerable<KernelSource> Sources => [Source()];

    static KernelSource<Args> Source() => new("rope/rotate.cu", ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="x">(rows, heads * headDim) f32</param>
    /// <param name="cosSin">(rows, 2 * pairs) f32</param>
    /// <param name="headDim">numbers per head</param>
    public void Launch(GpuStream stream, in Tensor x, in Tensor cosSin, int headDim)
    {
        int heads = x.Columns / headDim, pairs = cosSin.Columns / 2;
        variants[0].Launch(stream, new Grid(x.Rows, Grid.Blocks((long)heads * pairs, Threads), 1, Threads), new()
        {
            X = x.Address, CosSin = cosSin.Address, Heads = heads, HeadDim = headDim, Pairs = pairs,
        });
    }
}
