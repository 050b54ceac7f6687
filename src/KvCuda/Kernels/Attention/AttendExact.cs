using KvCuda.Gpu;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Attention;

/// <summary>Attention in f32 for any head dim and KV type. Device code: kernels/attention/attend_exact.cu.</summary>
internal sealed class AttendExact(KernelLibrary library) : IKernel
{
    const int Threads = AttentionMask.ChunkTokens;

    readonly record struct Variant(KvShape Kv, int Heads, bool Split, bool Streams);

    public struct Args
    {
        public KvPages Kv;
        public MaskArgs Mask;
        public Partials Partials;
        public nint Y, Q, Positions, Sequences;
        public int Heads, KvHeads;
    }

    readonly Variants<Variant, Args> variants = new(library, Source);

    /// <summary>The keys' slab (17 KB) and eight heads' queries and weights; three blocks fit an SM.</summary>
    public static KernelBudget Budget => new(Registers: 128, SharedBytes: 32 << 10);

    public static IEnumerable<KernelSource> Sources =>
        from kv in KvShape.Samples from split in DeviceTypes.NoYes from streams in DeviceTypes.NoYes
        select Source(new(kv, split ? 8 : 1, split, streams));

    static KernelSource<Args> Source(Variant variant)
    {
        AttentionArgs.Register();
        return new("attention/attend_exact.cu", ("KV", variant.Kv.Type.DeviceName()), ("HEAD_DIM", variant.Kv.HeadDim),
            ("PAGE_TOKENS", variant.Kv.PageTokens), ("HEADS", variant.Heads), ("SPLIT", variant.Split ? 1 : 0),
            ("STREAMS", AttentionArgs.Streams(variant.Streams)));
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, heads * headDim) f32</param>
    /// <param name="q">(rows, heads * headDim) f32</param>
    /// <param name="kv">where the keys and values live</param>
    /// <param name="rows">positions and sequences</param>
    /// <param name="mask">what a row may see</param>
    /// <param name="sinkQuery">where rows slide: (rows, heads * headDim) f32</param>
    /// <param name="partials">where chunks go, to be merged by <see cref="MergeSplits"/>; default: y is written</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery = default, Partials partials = default)
    {
        int heads = q.Columns / kv.HeadDim;
        int perBlock = AttentionArgs.HeadsPerBlock(heads, kv.KvHeads, limit: 8);
        bool split = partials.Chunks > 0;
        variants[new(new(kv), perBlock, split, !rows.Streams.IsNone)].Launch(stream,
            new Grid(heads / perBlock, rows.Count, split ? partials.Chunks : 1, Threads), new()
            {
                Kv = new(kv), Mask = new(mask, rows, sinkQuery), Partials = partials, Y = y.Address, Q = q.Address,
                Positions = rows.Positions.Address, Sequences = rows.Sequences.Address, Heads = heads, KvHeads = kv.KvHeads,
            });
    }
}
