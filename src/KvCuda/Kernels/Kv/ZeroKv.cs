using KvCuda.Tensors;
using KvCuda.Gpu;

namespace KvCuda.Kernels.Kv;

/// <summary>Zero keys and values for rows. Device code: kernels/kv/zero_kv.cu.</summary>
internal sealed class ZeroKv(KernelLibrary library) : IKernel
{
    const int Threads = 128;

    public struct Args
    {
        public KvPages Kv;
        public nint Positions, Sequences;
        public int KvHeads, Unused;
    }

    readonly Variants<KvShape, Args> variants = new(library, Source);

    /// <summary>Two addresses per thread.</summary>
    public static KernelBudget Budget => new(Registers: 40);

    public static IEnumerable<KernelSource> Sources => KvShape.Samples.Select(Source);

    static KernelSource<Args> Source(KvShape shape)
    {
        ArgsContract.Part<KvPages>();
        return new("kv/zero_kv.cu", ("KV", shape.Type.DeviceName()), ("HEAD_DIM", shape.HeadDim),
            ("PAGE_TOKENS", shape.PageTokens), ("THREADS", Threads));
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="kv">where the layer's keys and values live</param>
    /// <param name="rows">positions and sequences</param>
    public void Launch(GpuStream stream, in KvView kv, in BatchRows rows) =>
        variants[new(kv)].Launch(stream, new Grid(rows.Count, Threads), new()
        {
            Kv = new(kv), Positions = rows.Positions.Address, Sequences = rows.Sequences.Address, KvHeads = kv.KvHeads,
        });
}
