using KvCuda.Tensors;
using KvCuda.Kernels.Kv;

namespace KvCuda.Kernels.Attention;

/// <summary>
/// An <see cref="AttentionMask"/> with what rows that slide see, as kernels take it: MaskArgs of kernels/attention/softmax.cuh.
/// Kernels compiled without STREAMS read nothing of the latter.
/// </summary>
internal struct MaskArgs(in AttentionMask mask, in BatchRows rows, in Tensor sinkQuery = default)
{
    public float Scale = mask.Scale;
    public int Window = mask.Window, StrictlyEarlier = mask.StrictlyEarlier ? 1 : 0, Unused;
    public nint Spans = rows.Streams.Spans.Address, SinkQ = sinkQuery.Address;
}

/// <summary>Where split kernels leave each chunk's maximum, sum and values: Partials of kernels/attention/softmax.cuh.</summary>
internal struct Partials
{
    /// <summary>(rows, heads, chunks, headDim) f32.</summary>
    public nint O;

    /// <summary>(rows, heads, chunks, 2) f32: maximum and sum.</summary>
    public nint ML;

    /// <summary>Chunks of the longest sequence that the page table can hold; 0: no partials.</summary>
    public int Chunks, Unused;

    /// <summary>Cuts a scratch of <see cref="Bytes"/> bytes.</summary>
    public static Partials In(nint scratch, int rows, int heads, int headDim, int chunks) =>
        new() { O = scratch, ML = scratch + (nint)((long)rows * heads * chunks * headDim * sizeof(float)), Chunks = chunks };

    /// <summary>Bytes of scratch that a split launch needs.</summary>
    public static long Bytes(int rows, int heads, int headDim, int chunks) =>
        (long)rows * heads * chunks * (headDim + 2) * sizeof(float);

    /// <summary>Chunks of the longest sequence that the page table can hold.</summary>
    public static int ChunksOf(in KvView kv) =>
        Grid.Blocks((long)kv.PageTable.Columns * kv.PageTokens, AttentionMask.ChunkTokens);
}

/// <summary>What every attention kernel is told.</summary>
internal static class AttentionArgs
{
    /// <summary>Registers the shared groups of arguments.</summary>
    public static void Register()
    {
        ArgsContract.Part<KvPages>();
        ArgsContract.Part<MaskArgs>();
        ArgsContract.Part<Partials>();
    }

    /// <summary>The macro of kernels that know rows that slide.</summary>
    public static string Streams(bool streams) => streams ? "1" : "0";

    /// <summary>How many query heads of one kv head a block takes: the largest divisor of the group up to a limit.</summary>
    public static int HeadsPerBlock(int heads, int kvHeads, int limit)
    {
        int group = heads / kvHeads, best = 1;
        for (int divisor = 2; divisor <= Math.Min(group, limit); divisor++)
        {
            best = group % divisor == 0 ? divisor : best;
        }
        return best;
    }
}
