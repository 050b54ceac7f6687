using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Mlp;

/// <summary>y = activation(gate) * up. Device code: kernels/mlp/gate.cu.</summary>
internal sealed class Gate(KernelLibrary library) : IKernel
{
    const int Threads = 256;

    public struct Args
    {
        public nint Y, Gate, Up;
        public long Count;
    }

    readonly Variants<KeyOf<Activation>, Args> variants = new(library, activation => Source(activation.Value));

    /// <summary>One number per thread and an exponential.</summary>
    public static KernelBudget Budget => new(Registers: 32);

    public static IEnumerable<KernelSource> Sources => Enum.GetValues<Activation>().Select(Source);

    static KernelSource<Args> Source(Activation activation) =>
        new("mlp/gate.cu", ("ACTIVATION", (int)activation), ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, hidden) f32, may be gate</param>
    /// <param name="gate">(rows, hidden) f32</param>
    /// <param name="up">(rows, hidden) f32</param>
    /// <param name="activation">what the gate goes through</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor gate, in Tensor up, Activation activation) =>
        variants[new(activation)].Launch(stream, Grid.OneThreadPer(y.Count, Threads), new()
        {
            Y = y.Address, Gate = gate.Address, Up = up.Address, Count = y.Count,
        });
}
