namespace KvCuda.Tensors;

/// <summary>
/// How a weight (outputs, inputs) lies in memory as <see cref="WeightFormat.Int8"/>: weight[o,i] = scale[o, i / 32] * byte[o,i], with scales
/// in bf16. Sixteen outputs are a block, padded with zeros if there are not so many; a block is one run of memory:
///
///     [group of 32 inputs][16 outputs]              scales, 2 bytes each, padded to whole lines of 64 bytes
///     [group of 32 inputs][8 quads][16 outputs][4]  signed bytes
///
/// so that a product takes four inputs of sixteen outputs as one line, and a sum stays in its output's lane.
/// </summary>
internal readonly record struct Int8Layout(int Outputs, int Inputs)
{
    /// <summary>Inputs that share a scale, as in ggml's q8_0: few enough that one outlier coarsens few neighbours.</summary>
    public const int Group = 32;

    /// <summary>Outputs that lie together.</summary>
    public const int Block = 16;

    /// <summary>Neighbouring inputs of an output that lie together.</summary>
    public const int Quad = 4;

    /// <summary>The bytes of a group of a block.</summary>
    public const int GroupBytes = Group * Block;

    /// <summary>The scales of a group of a block.</summary>
    public const int GroupScaleBytes = 2 * Block;

    public int Groups => Inputs / Group;

    public int Blocks => (Outputs + Block - 1) / Block;

    /// <summary>From a block's begin to its first signed byte.</summary>
    public long ScaleBytes => ((long)Groups * GroupScaleBytes + 63) / 64 * 64;

    public long BlockBytes => ScaleBytes + (long)Groups * GroupBytes;

    /// <summary>1.0625 for a number of whole blocks of an even number of groups.</summary>
    public long Bytes => Blocks * BlockBytes;

    /// <summary>Where output <paramref name="output"/>'s four bytes of the quad that begins with an input are, from its block's begin.</summary>
    public long QuadAt(int output, int input) => ScaleBytes + (long)(input / Quad * Block + output % Block) * Quad;

    /// <summary>Where the scale is that an output and an input share, in bf16 numbers from their block's begin.</summary>
    public static long ScaleAt(int output, int input) => (long)(input / Group) * Block + output % Block;
}
