using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Kv;

/// <summary>Rows' keys and values into their pages, one block per row. Device code: kernels/kv/store_kv.cu.</summary>
internal sealed class StoreKv(KernelLibrary library) : IKernel
{
    const int Threads = 128;

    public struct Args
    {
        public KvPages Kv;
        public nint K, V, Positions, Sequences, Changed;
        public int KvHeads, Unused;
    }

    readonly Variants<KvShape, Args> variants = new(library, Source);

    /// <summary>Two numbers and two addresses per thread.</summary>
    public static KernelBudget Budget => new(Registers: 40);

    public static IEnumerable<KernelSource> Sources => KvShape.Samples.Select(Source);

    static KernelSource<Args> Source(KvShape shape)
    {
        ArgsContract.Part<KvPages>();
        return new("kv/store_kv.cu", ("KV", shape.Type.DeviceName()), ("HEAD_DIM", shape.HeadDim),
            ("PAGE_TOKENS", shape.PageTokens), ("THREADS", Threads));
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="kv">where the layer's keys and values live</param>
    /// <param name="k">(rows, kvHeads * headDim) f32</param>
    /// <param name="v">(rows, kvHeads * headDim) f32</param>
    /// <param name="rows">positions and sequences</param>
    /// <param name="changed">(1, rows) i32, or none</param>
    public void Launch(GpuStream stream, in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed) =>
        variants[new(kv)].Launch(stream, new Grid(rows.Count, Threads), new()
        {
            Kv = new(kv), K = k.Address, V = v.Address, Positions = rows.Positions.Address,
            Sequences = rows.Sequences.Address, Changed = changed.Address, KvHeads = kv.KvHeads,
        });
}
