using KvCuda.Gpu;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Attention;

/// <summary>Tiles of rows over all their chunks, on tensor cores. Device code: kernels/attention/attend_prefill.cu.</summary>
internal sealed class AttendPrefill(KernelLibrary library) : IKernel
{
    const int Lines = 16;

    readonly record struct Variant(KvShape Kv, int Heads, int Rows, int Threads, bool Streams)
    {
        public int SharedBytes => (2 * AttentionMask.ChunkTokens + Threads / 2) * (Kv.HeadDim + 8) * 2;
    }

    public struct Args
    {
        public KvPages Kv;
        public MaskArgs Mask;
        public nint Y, Q, Positions, Sequences;
        public int Rows, Heads, KvHeads, Unused;
    }

    readonly Variants<Variant, Args> variants = new(library, Source, variant => variant.SharedBytes);

    /// <summary>Shared memory lets two blocks of 128 threads on an SM at head dim 128: all registers are theirs.</summary>
    public static KernelBudget Budget => new(Registers: 255, DynamicSharedBytes: Of(new(DType.BF16, 256, 16), 1, single: false, streams: false).SharedBytes)
    {
        Instructions = ["HMMA", "LDSM", "LDGSTS"],
    };

    /// <summary>The shapes that tensor cores take, to check.</summary>
    public static IEnumerable<KvShape> Shapes => [.. KvShape.Samples.Where(Takes), new(DType.F16, 16, 64), new(DType.F16, 32, 16)];

    public static IEnumerable<KernelSource> Sources =>
        from kv in Shapes from single in DeviceTypes.NoYes from streams in DeviceTypes.NoYes
        select Source(Of(kv, single ? 1 : 8, single, streams));

    /// <summary>True if tensor cores know the type and the head dim is a multiple of 16.</summary>
    public static bool Takes(KvShape kv) => kv.Type is DType.F16 or DType.BF16 && kv.HeadDim % 16 == 0 && kv.HeadDim <= 256;

    // At head dim 256 keys and values leave room for the queries of two warps (163 KB on sm_80), and one warp would spill.
    static Variant Of(KvShape kv, int heads, bool single, bool streams)
    {
        int threads = kv.HeadDim > 128 ? 64 : single ? 32 : 128;
        return new(kv, heads, single ? 1 : threads / 32 * Lines / heads, threads, streams);
    }

    static KernelSource<Args> Source(Variant variant)
    {
        AttentionArgs.Register();
        return new("attention/attend_prefill.cu", ("KV", variant.Kv.Type.DeviceName()), ("HEAD_DIM", variant.Kv.HeadDim),
            ("PAGE_TOKENS", variant.Kv.PageTokens), ("HEADS", variant.Heads), ("TILE_ROWS", variant.Rows), ("THREADS", variant.Threads),
            ("STREAMS", AttentionArgs.Streams(variant.Streams)));
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, heads * headDim) f32</param>
    /// <param name="q">(rows, heads * headDim) f32</param>
    /// <param name="kv">where the keys and values live</param>
    /// <param name="rows">positions and sequences</param>
    /// <param name="mask">what a row may see</param>
    /// <param name="sinkQuery">where rows slide: (rows, heads * headDim) f32</param>
    /// <param name="single">one row per block: for decode steps of large batches</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery, bool single)
    {
        int heads = q.Columns / kv.HeadDim, perBlock = AttentionArgs.HeadsPerBlock(heads, kv.KvHeads, Lines);
        Variant variant = Of(new(kv), perBlock, single, !rows.Streams.IsNone);
        variants[variant].Launch(stream,
            new Grid(Grid.Blocks(rows.Count, variant.Rows), heads / perBlock, 1, variant.Threads) { SharedBytes = variant.SharedBytes },
            new()
            {
                Kv = new(kv), Mask = new(mask, rows, sinkQuery), Y = y.Address, Q = q.Address, Positions = rows.Positions.Address,
                Sequences = rows.Sequences.Address, Rows = rows.Count, Heads = heads, KvHeads = kv.KvHeads,
            });
    }
}
