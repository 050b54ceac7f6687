using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>
/// y = x · weightᵀ + bias for many rows on the tensor cores of compute capability 9.0. Device code:
/// kernels/matmul/matmul_wgmma.cu. No plan chooses it before a GPU has measured it: KVCUDA_MATMUL=wgmma puts it in
/// <see cref="MatmulMma"/>'s place.
/// </summary>
internal sealed class MatmulWgmma(KernelLibrary library) : IKernel
{
    const int Threads = 256, TileRows = 128;

    /// <summary>The one architecture that has the instructions.</summary>
    public const string Architecture = "sm_90a";

    /// <summary>Outputs of a block; as many stages as shared memory holds.</summary>
    internal readonly record struct Tile(int Outputs, int Stages)
    {
        /// <summary>128 sums per thread: the most work per byte.</summary>
        public static Tile Large => new(256, 4);

        /// <summary>Twice as many blocks.</summary>
        public static Tile Small => new(128, 5);

        /// <summary>Stages of (rows + outputs) lines of 128 bytes, and room to begin at a multiple of 1024.</summary>
        public int SharedBytes => 1024 + (Stages * (TileRows + Outputs) * 128);
    }

    readonly record struct Variant(DType Bias, Epilogue Epilogue, Tile Tile);

    public struct Args
    {
        public nint Y, X, Weight, Bias;
        public int Rows, Inputs, Outputs, Unused;
    }

    readonly Variants<Variant, Args> variants = new(library, Source, variant => variant.Tile.SharedBytes);

    /// <summary>One block of 256 threads has all registers of an SM: 128 sums, 32 numbers of x under way.</summary>
    public static KernelBudget Budget => new(Registers: 255, DynamicSharedBytes: Tile.Large.SharedBytes)
    {
        Architecture = Architecture,
        Instructions = ["HGMMA", "LDGSTS"],
    };

    public static IEnumerable<KernelSource> Sources =>
        from epilogue in new Epilogue[] { Epilogue.Store, Epilogue.Add, Epilogue.Gate(Activation.Silu) }
        from small in DeviceTypes.NoYes
        select Source(new(DType.BF16, epilogue, small ? Tile.Small : Tile.Large));

    static KernelSource<Args> Source(Variant variant) => new("matmul/matmul_wgmma.cu",
        ("BIAS", variant.Bias.DeviceName()), ("EPILOGUE", variant.Epilogue.Number), ("TILE_OUTPUTS", variant.Tile.Outputs),
        ("STAGES", variant.Tile.Stages));

    /// <summary>True if the device has the instructions, and the weights are bf16 rows that can be copied 16 bytes at a time.</summary>
    public bool Takes(in Tensor weight) =>
        library.Context.Device.Architecture == Architecture && weight.Type == DType.BF16 && Matvec.IsAligned(weight);

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, outputs) f32</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="weight">(outputs, inputs): <see cref="Takes"/></param>
    /// <param name="bias">(1, outputs), or none</param>
    /// <param name="epilogue">what happens to the sums</param>
    /// <param name="tile">the blocks' shape; it does not change a row's bits</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue, Tile tile) =>
        variants[new(bias.IsNone ? weight.Type : bias.Type, epilogue, tile)].Launch(stream,
            new Grid(Grid.Blocks(x.Rows, TileRows), Grid.Blocks(weight.Rows, tile.Outputs), 1, Threads) { SharedBytes = tile.SharedBytes },
            new()
            {
                Y = y.Address, X = x.Address, Weight = weight.Address, Bias = bias.Address,
                Rows = x.Rows, Inputs = x.Columns, Outputs = weight.Rows,
            });

    /// <summary>The large tile where it makes a block for every SM.</summary>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue) =>
        Launch(stream, y, x, weight, bias, epilogue,
            (long)Grid.Blocks(x.Rows, TileRows) * Grid.Blocks(weight.Rows, Tile.Large.Outputs) >= library.Context.Device.Multiprocessors
                ? Tile.Large : Tile.Small);
}
