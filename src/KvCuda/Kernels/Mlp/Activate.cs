using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Mlp;

/// <summary>x = activation(x). Device code: kernels/mlp/activate.cu.</summary>
internal sealed class Activate(KernelLibrary library) : IKernel
{
    const int Threads = 256;

    public struct Args
    {
        public nint X;
        public long Count;
    }

    readonly Variants<KeyOf<Activation>, Args> variants = new(library, activation => Source(activation.Value));

    /// <summary>One number per thread and an exponential.</summary>
    public static KernelBudget Budget => new(Registers: 32);

    public static IEnumerable<KernelSource> Sources => Enum.GetValues<Activation>().Select(Source);

    static KernelSource<Args> Source(Activation activation) =>
        new("mlp/activate.cu", ("ACTIVATION", (int)activation), ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="x">(rows, hidden) f32, in place</param>
    /// <param name="activation">what it goes through</param>
    public void Launch(GpuStream stream, in Tensor x, Activation activation) =>
        variants[new(activation)].Launch(stream, Grid.OneThreadPer(x.Count, Threads), new() { X = x.Address, Count = x.Count });
}
