using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>y = x · weightᵀ + bias for many rows on tensor cores. Device code: kernels/matmul/matmul_mma.cu.</summary>
internal sealed class MatmulMma(KernelLibrary library) : IKernel
{
    /// <summary>A block's part of y and how its warps share it.</summary>
    internal readonly record struct Tile(int Rows, int Outputs, int LinesOfWarps, int ColumnsOfWarps)
    {
        /// <summary>64 sums per thread: the most work per byte.</summary>
        public static Tile Large => new(128, 128, 2, 4);

        /// <summary>Four times as many blocks, for matrices that large tiles would spread over too few SMs.</summary>
        public static Tile Small => new(64, 64, 2, 2);

        public int Threads => 32 * LinesOfWarps * ColumnsOfWarps;

        /// <summary>Stages of (rows + outputs) lines of 32 numbers and 8 of padding, 2 bytes each.</summary>
        public int SharedBytes => Stages * (Rows + Outputs) * 80;
    }

    const int Stages = 4;

    readonly record struct Variant(DType Weight, DType Bias, Epilogue Epilogue, Tile Tile);

    public struct Args
    {
        public nint Y, X, Weight, Bias;
        public int Rows, Inputs, Outputs, Unused;
    }

    readonly Variants<Variant, Args> variants = new(library, Source, variant => variant.Tile.SharedBytes);

    /// <summary>Two blocks of 256 threads, or four of 128, share the registers of an SM.</summary>
    public static KernelBudget Budget => new(Registers: 128, DynamicSharedBytes: Tile.Large.SharedBytes)
    {
        Instructions = ["HMMA", "LDSM", "LDGSTS"],
    };

    public static IEnumerable<KernelSource> Sources =>
        from weight in DeviceTypes.Floats
        where weight != DType.F32
        from epilogue in new Epilogue[] { Epilogue.Store, Epilogue.Add, Epilogue.Gate(Activation.Silu) }
        from small in DeviceTypes.NoYes
        select Source(new(weight, weight, epilogue, small ? Tile.Small : Tile.Large));

    static KernelSource<Args> Source(Variant variant) => new("matmul/matmul_mma.cu",
        ("WEIGHT", variant.Weight.DeviceName()), ("BIAS", variant.Bias.DeviceName()), ("EPILOGUE", variant.Epilogue.Number),
        ("TILE_ROWS", variant.Tile.Rows), ("TILE_OUTPUTS", variant.Tile.Outputs),
        ("LINES_OF_WARPS", variant.Tile.LinesOfWarps), ("COLUMNS_OF_WARPS", variant.Tile.ColumnsOfWarps), ("STAGES", Stages));

    /// <summary>True if the weights' rows can be copied 16 bytes at a time and the tensor cores know their type.</summary>
    public static bool Takes(in Tensor weight) => weight.Type is DType.F16 or DType.BF16 && Matvec.IsAligned(weight);

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, outputs) f32</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="weight">(outputs, inputs): <see cref="Takes"/></param>
    /// <param name="bias">(1, outputs), or none</param>
    /// <param name="epilogue">what happens to the sums</param>
    /// <param name="tile">the blocks' shape; it does not change a row's bits</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue, Tile tile) =>
        variants[new(weight.Type, bias.IsNone ? weight.Type : bias.Type, epilogue, tile)].Launch(stream,
            new Grid(Grid.Blocks(weight.Rows, tile.Outputs), Grid.Blocks(x.Rows, tile.Rows), 1, tile.Threads)
            {
                SharedBytes = tile.SharedBytes,
            },
            new()
            {
                Y = y.Address, X = x.Address, Weight = weight.Address, Bias = bias.Address,
                Rows = x.Rows, Inputs = x.Columns, Outputs = weight.Rows,
            });
}
