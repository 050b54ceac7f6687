using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Kv;

/// <summary>
/// Rotate(q), Rotate(k) and StoreKv(k, v) in one launch, with the same bits; k itself stays unrotated. Device code:
/// kernels/kv/rotate_store_kv.cu.
/// </summary>
internal sealed class RotateStoreKv(KernelLibrary library) : IKernel
{
    const int Threads = 256;

    public struct Args
    {
        public KvPages Kv;
        public nint Q, K, V, CosSin, Positions, Sequences, Changed;
        public int Heads, KvHeads, Pairs, Unused;
    }

    readonly Variants<KvShape, Args> variants = new(library, Source);

    /// <summary>Bound by latency, not by occupancy: one row is one block.</summary>
    public static KernelBudget Budget => new(Registers: 48);

    public static IEnumerable<KernelSource> Sources => KvShape.Samples.Select(Source);

    static KernelSource<Args> Source(KvShape shape)
    {
        ArgsContract.Part<KvPages>();
        return new("kv/rotate_store_kv.cu", ("KV", shape.Type.DeviceName()), ("HEAD_DIM", shape.HeadDim),
            ("PAGE_TOKENS", shape.PageTokens), ("THREADS", Threads));
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="kv">where the layer's keys and values live</param>
    /// <param name="q">(rows, heads * headDim) f32, rotated in place</param>
    /// <param name="k">(rows, kvHeads * headDim) f32, not yet rotated; only read</param>
    /// <param name="v">(rows, kvHeads * headDim) f32</param>
    /// <param name="cosSin">(rows, 2 * pairs) f32</param>
    /// <param name="rows">positions and sequences</param>
    /// <param name="changed">(1, rows) i32, or none</param>
    public void Launch(GpuStream stream, in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin,
        in BatchRows rows, in Tensor changed) =>
        variants[new(kv)].Launch(stream, new Grid(rows.Count, Threads), new()
        {
            Kv = new(kv), Q = q.Address, K = k.Address, V = v.Address, CosSin = cosSin.Address,
            Positions = rows.Positions.Address, Sequences = rows.Sequences.Address, Changed = changed.Address,
            Heads = q.Columns / kv.HeadDim, KvHeads = kv.KvHeads, Pairs = cosSin.Columns / 2,
        });
}
