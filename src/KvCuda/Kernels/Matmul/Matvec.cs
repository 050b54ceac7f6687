using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>y = x · weightᵀ + bias for few rows, a warp per output pair. Device code: kernels/matmul/matvec.cu.</summary>
internal sealed class Matvec(KernelLibrary library) : IKernel
{
    const int Threads = 128, Outputs = 2;

    /// <summary>The most rows that one reading of the weights serves; more rows read them again, from L2 if they fit.</summary>
    public const int MostRows = 8;

    /// <summary>The compiled numbers of rows per block.</summary>
    internal static readonly int[] RowCounts = [1, 2, 4, MostRows];

    readonly record struct Variant(DType Weight, DType Bias, bool Aligned, int Rows, Epilogue Epilogue);

    public struct Args
    {
        public nint Y, X, Weight, Bias;
        public int Rows, Inputs, Outputs, Ahead;
    }

    readonly Variants<Variant, Args> variants = new(library, Source);

    /// <summary>Eight rows times two outputs and eight 16-byte loads under way; five blocks of 128 threads fit an SM.</summary>
    public static KernelBudget Budget => new(Registers: 102);

    public static IEnumerable<KernelSource> Sources =>
        from weight in DeviceTypes.Floats
        from aligned in DeviceTypes.NoYes
        from rows in RowCounts
        select Source(new(weight, weight, aligned, rows, rows == 1 ? Epilogue.Add : Epilogue.Store));

    static KernelSource<Args> Source(Variant variant) => new("matmul/matvec.cu",
        ("WEIGHT", variant.Weight.DeviceName()), ("BIAS", variant.Bias.DeviceName()),
        ("VECTOR", VectorOf(variant.Weight, variant.Aligned)), ("ROWS", variant.Rows), ("OUTPUTS", Outputs), ("LOADS", 4),
        ("THREADS", Threads), ("EPILOGUE", variant.Epilogue.Number));

    /// <summary>Weights per load: 16 bytes where every row starts at a multiple of 16, else one.</summary>
    internal static int VectorOf(DType weight, bool aligned) => aligned ? 16 / weight.Bytes() : 1;

    /// <summary>True if 16 bytes can be loaded anywhere in the matrix.</summary>
    internal static bool IsAligned(in Tensor weight) =>
        weight.Address % 16 == 0 && (long)weight.Columns * weight.Type.Bytes() % 16 == 0;

    /// <summary>The smallest compiled number of rows that serves so many at once.</summary>
    internal static int RowsPerBlock(int rows) => rows switch { 1 => 1, 2 => 2, <= 4 => 4, _ => MostRows };

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, outputs) f32</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="weight">(outputs, inputs)</param>
    /// <param name="bias">(1, outputs), or none</param>
    /// <param name="epilogue">what happens to the sums</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue)
    {
        int rows = RowsPerBlock(x.Rows);
        bool aligned = IsAligned(weight) && x.Columns % 4 == 0, ahead = ProgrammaticLaunch.On(library);
        variants[new(weight.Type, bias.IsNone ? weight.Type : bias.Type, aligned, rows, epilogue)].Launch(stream,
            new Grid(Grid.Blocks(weight.Rows, Outputs * Threads / 32), Grid.Blocks(x.Rows, rows), 1, Threads)
            {
                Programmatic = ahead,
            }, new()
            {
                Y = y.Address, X = x.Address, Weight = weight.Address, Bias = bias.Address,
                Rows = x.Rows, Inputs = x.Columns, Outputs = weight.Rows, Ahead = ahead ? 1 : 0,
            });
    }
}
