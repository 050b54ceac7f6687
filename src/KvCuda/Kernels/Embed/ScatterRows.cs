using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Embed;

/// <summary>y[index[r],:] = x[r,:]. Device code: kernels/embed/scatter_rows.cu.</summary>
internal sealed class ScatterRows(KernelLibrary library) : IKernel
{
    const int Threads = 256;

    public struct Args
    {
        public nint Y, X, Index;
        public int Dim, Targets;
    }

    readonly Variants<int, Args> variants = new(library, _ => Source());

    /// <summary>One number per thread: nothing to keep.</summary>
    public static KernelBudget Budget => new(Registers: 24);

    public static IEnumerable<KernelSource> Sources => [Source()];

    static KernelSource<Args> Source() => new("embed/scatter_rows.cu", ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(targets, dim) f32</param>
    /// <param name="x">(rows, dim) f32</param>
    /// <param name="index">(1, rows) i32, distinct</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor index) =>
        variants[0].Launch(stream, new Grid(x.Rows, Grid.Blocks(x.Columns, Threads), 1, Threads), new()
        {
            Y = y.Address, X = x.Address, Index = index.Address, Dim = x.Columns, Targets = y.Rows,
        });
}
