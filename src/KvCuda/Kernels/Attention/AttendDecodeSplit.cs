using KvCuda.Gpu;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Attention;

/// <summary>
/// A warp per row, kv head and chunk, on tensor cores; <see cref="MergeSplits"/> finishes. Device code:
/// kernels/attention/attend_decode_split.cu.
/// </summary>
internal sealed class AttendDecodeSplit(KernelLibrary library) : IKernel
{
    const int Lines = 16;

    readonly record struct Variant(KvShape Kv, int Heads, bool Streams);

    public struct Args
    {
        public KvPages Kv;
        public MaskArgs Mask;
        public Partials Partials;
        public nint Q, Positions, Sequences;
        public int Heads, KvHeads;
    }

    readonly Variants<Variant, Args> variants = new(library, Source, variant => SharedBytes(variant.Kv.HeadDim));

    /// <summary>Blocks of one warp: registers are plentiful, shared memory decides how many fit.</summary>
    public static KernelBudget Budget => new(Registers: 255, DynamicSharedBytes: SharedBytes(256))
    {
        Instructions = ["HMMA", "LDSM", "LDGSTS"],
    };

    public static IEnumerable<KernelSource> Sources =>
        from kv in AttendPrefill.Shapes from grouped in DeviceTypes.NoYes from streams in DeviceTypes.NoYes
        select Source(new(kv, grouped ? 8 : 1, streams));

    static int SharedBytes(int headDim) => (2 * AttentionMask.ChunkTokens + Lines) * (headDim + 8) * 2;

    static KernelSource<Args> Source(Variant variant)
    {
        AttentionArgs.Register();
        return new("attention/attend_decode_split.cu", ("KV", variant.Kv.Type.DeviceName()), ("HEAD_DIM", variant.Kv.HeadDim),
            ("PAGE_TOKENS", variant.Kv.PageTokens), ("HEADS", variant.Heads), ("STREAMS", AttentionArgs.Streams(variant.Streams)));
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="q">(rows, heads * headDim) f32</param>
    /// <param name="kv">where the keys and values live</param>
    /// <param name="rows">positions and sequences</param>
    /// <param name="mask">what a row may see</param>
    /// <param name="sinkQuery">where rows slide: (rows, heads * headDim) f32</param>
    /// <param name="partials">where chunks go, to be merged by <see cref="MergeSplits"/> with base 2</param>
    public void Launch(GpuStream stream, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery, Partials partials)
    {
        int heads = q.Columns / kv.HeadDim, perBlock = AttentionArgs.HeadsPerBlock(heads, kv.KvHeads, Lines);
        variants[new(new(kv), perBlock, !rows.Streams.IsNone)].Launch(stream,
            new Grid(partials.Chunks, heads / perBlock, rows.Count, 32) { SharedBytes = SharedBytes(kv.HeadDim) }, new()
            {
                Kv = new(kv), Mask = new(mask, rows, sinkQuery), Partials = partials, Q = q.Address, Positions = rows.Positions.Address,
                Sequences = rows.Sequences.Address, Heads = heads, KvHeads = kv.KvHeads,
            });
    }
}
