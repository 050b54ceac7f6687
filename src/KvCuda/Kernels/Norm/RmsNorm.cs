using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Norm;

/// <summary>y = x / rms(x) * weight, one block per row. Device code: kernels/norm/rms_norm.cu.</summary>
internal sealed class RmsNorm(KernelLibrary library) : IKernel
{
    const int Threads = 256;

    public struct Args
    {
        public nint Y, X, Weight;
        public int Dim;
        public float Epsilon;
    }

    readonly Variants<KeyOf<DType>, Args> variants = new(library, weight => Source(weight.Value));

    /// <summary>A block of 256 threads should leave room for seven more on an SM.</summary>
    public static KernelBudget Budget => new(Registers: 32, SharedBytes: 64);

    public static IEnumerable<KernelSource> Sources => DeviceTypes.Floats.Select(Source);

    static KernelSource<Args> Source(DType weight) =>
        new("norm/rms_norm.cu", ("WEIGHT", weight.DeviceName()), ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, dim) f32, may be x</param>
    /// <param name="x">(rows, dim) f32</param>
    /// <param name="weight">(1, dim)</param>
    /// <param name="epsilon">added to the mean square</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, float epsilon) =>
        variants[new(weight.Type)].Launch(stream, new Grid(x.Rows, Threads) { Programmatic = ProgrammaticLaunch.On(library) }, new()
        {
            Y = y.Address, X = x.Address, Weight = weight.Address, Dim = x.Columns, Epsilon = epsilon,
        });
}
