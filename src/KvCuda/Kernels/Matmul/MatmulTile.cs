using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>y = x · weightᵀ + bias for many rows, all in f32. Device code: kernels/matmul/matmul_tile.cu.</summary>
internal sealed class MatmulTile(KernelLibrary library) : IKernel
{
    const int Threads = 256, Tile = 64;

    readonly record struct Variant(DType Weight, DType Bias, Epilogue Epilogue);

    public struct Args
    {
        public nint Y, X, Weight, Bias;
        public int Rows, Inputs, Outputs, Unused;
    }

    readonly Variants<Variant, Args> variants = new(library, Source);

    /// <summary>16 sums per thread; 64 registers leave room for four blocks of 256 threads on an SM.</summary>
    public static KernelBudget Budget => new(Registers: 64, SharedBytes: 9 << 10);

    public static IEnumerable<KernelSource> Sources =>
        from weight in DeviceTypes.Floats
        from epilogue in new[] { Epilogue.Store, Epilogue.Add, Epilogue.Gate(Activation.Silu) }
        select Source(new(weight, weight, epilogue));

    static KernelSource<Args> Source(Variant variant) => new("matmul/matmul_tile.cu",
        ("WEIGHT", variant.Weight.DeviceName()), ("BIAS", variant.Bias.DeviceName()), ("EPILOGUE", variant.Epilogue.Number));

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, outputs) f32</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="weight">(outputs, inputs)</param>
    /// <param name="bias">(1, outputs), or none</param>
    /// <param name="epilogue">what happens to the sums</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue) =>
        variants[new(weight.Type, bias.IsNone ? weight.Type : bias.Type, epilogue)].Launch(stream,
            new Grid(Grid.Blocks(weight.Rows, Tile), Grid.Blocks(x.Rows, Tile), 1, Threads), new()
            {
                Y = y.Address, X = x.Address, Weight = weight.Address, Bias = bias.Address,
                Rows = x.Rows, Inputs = x.Columns, Outputs = weight.Rows,
            });
}
