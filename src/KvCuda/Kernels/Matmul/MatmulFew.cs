using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>
/// y = x · weightᵀ + bias for up to 64 rows on tensor cores, the weights read once. Device code: kernels/matmul/matmul_few.cu. No
/// plan chooses it before a GPU has measured it: KVCUDA_MATMUL=few puts it in the place of <see cref="Matvec"/>, for every
/// number of rows that decode steps have, so that a row's bits still do not depend on its batch mates.
/// </summary>
internal sealed class MatmulFew(KernelLibrary library) : IKernel
{
    const int Threads = 256, Outputs = 32;

    /// <summary>The most rows of a call.</summary>
    public const int MostRows = 64;

    readonly record struct Variant(DType Weight, DType Bias, int Rows, Epilogue Epilogue)
    {
        /// <summary>Every warp's sums.</summary>
        public int SharedBytes => Threads / 32 * Outputs * Rows * sizeof(float);

        // Runs of 32 inputs under way per warp: fewer where the sums of many rows need the registers.
        public int Loads => Rows == MostRows ? 2 : 4;
    }

    public struct Args
    {
        public nint Y, X, Weight, Bias;
        public int Rows, Inputs, Outputs, Unused;
    }

    readonly Variants<Variant, Args> variants = new(library, Source, variant => variant.SharedBytes);

    /// <summary>64 sums and 64 registers of weights under way at most; one block fits an SM in any case, two where rows are few.</summary>
    public static KernelBudget Budget => new(Registers: 255, DynamicSharedBytes: new Variant(DType.BF16, DType.BF16, MostRows, Epilogue.Store).SharedBytes)
    {
        Instructions = ["HMMA"],
    };

    public static IEnumerable<KernelSource> Sources =>
        from weight in DeviceTypes.Floats
        where weight != DType.F32
        from rows in new[] { 8, 16, 32, MostRows }
        select Source(new(weight, weight, rows, rows == 8 ? Epilogue.Add : Epilogue.Gate(Activation.Silu)));

    static KernelSource<Args> Source(Variant variant) => new("matmul/matmul_few.cu",
        ("WEIGHT", variant.Weight.DeviceName()), ("BIAS", variant.Bias.DeviceName()), ("ROWS", variant.Rows), ("LOADS", variant.Loads),
        ("EPILOGUE", variant.Epilogue.Number));

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, outputs) f32</param>
    /// <param name="x">(rows, inputs) f32, at most <see cref="MostRows"/> rows</param>
    /// <param name="weight">(outputs, inputs): <see cref="MatmulMma.Takes"/></param>
    /// <param name="bias">(1, outputs), or none</param>
    /// <param name="epilogue">what happens to the sums</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue)
    {
        int rows = x.Rows switch { <= 8 => 8, <= 16 => 16, <= 32 => 32, _ => MostRows };
        Variant variant = new(weight.Type, bias.IsNone ? weight.Type : bias.Type, rows, epilogue);
        variants[variant].Launch(stream, new Grid(Grid.Blocks(weight.Rows, Outputs), Threads)
        {
            SharedBytes = variant.SharedBytes, Programmatic = ProgrammaticLaunch.On(library),
        }, new()
        {
            Y = y.Address, X = x.Address, Weight = weight.Address, Bias = bias.Address,
            Rows = x.Rows, Inputs = x.Columns, Outputs = weight.Rows,
        });
    }
}
