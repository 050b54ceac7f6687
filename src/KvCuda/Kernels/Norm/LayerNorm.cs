using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Norm;

/// <summary>y = (x - mean) / deviation * weight + bias, one block per row. Device code: kernels/norm/layer_norm.cu.</summary>
internal sealed class LayerNorm(KernelLibrary library) : IKernel
{
    const int Threads = 256;

    public struct Args
    {
        public nint Y, X, Weight, Bias;
        public int Dim;
        public float Epsilon;
    }

    readonly Variants<KeyOf<DType>, Args> variants = new(library, weight => Source(weight.Value));

    /// <summary>A block of 256 threads should leave room for five more on an SM.</summary>
    public static KernelBudget Budget => new(Registers: 40, SharedBytes: 64);

    public static IEnumerable<KernelSource> Sources => DeviceTypes.Floats.Select(Source);

    static KernelSource<Args> Source(DType weight) =>
        new("norm/layer_norm.cu", ("WEIGHT", weight.DeviceName()), ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, dim) f32, may be x</param>
    /// <param name="x">(rows, dim) f32</param>
    /// <param name="weight">(1, dim)</param>
    /// <param name="bias">(1, dim), of the weight's type</param>
    /// <param name="epsilon">added to the variance</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon)
    {
        Expect.Type(bias, weight.Type);
        variants[new(weight.Type)].Launch(stream, new Grid(x.Rows, Threads), new()
        {
            Y = y.Address, X = x.Address, Weight = weight.Address, Bias = bias.Address, Dim = x.Columns, Epsilon = epsilon,
        });
    }
}
