using KvCuda.Gpu;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Attention;

/// <summary>Chunks into rows, in token order. Device code: kernels/attention/merge_splits.cu.</summary>
internal sealed class MergeSplits(KernelLibrary library) : IKernel
{
    readonly record struct Variant(int HeadDim, bool Base2, bool Streams);

    public struct Args
    {
        public MaskArgs Mask;
        public Partials Partials;
        public nint Y, Positions, Sequences;
        public int Heads, Unused;
    }

    readonly Variants<Variant, Args> variants = new(library, Source);

    /// <summary>Short blocks that wait for L2: many should fit.</summary>
    public static KernelBudget Budget => new(Registers: 40);

    public static IEnumerable<KernelSource> Sources =>
        from kv in KvShape.Samples from base2 in DeviceTypes.NoYes from streams in DeviceTypes.NoYes
        select Source(new(kv.HeadDim, base2, streams));

    static int Threads(int headDim) => Math.Clamp((headDim + 31) / 32 * 32, 32, 128);

    static KernelSource<Args> Source(Variant variant)
    {
        AttentionArgs.Register();
        return new("attention/merge_splits.cu", ("HEAD_DIM", variant.HeadDim), ("BASE_2", variant.Base2 ? "true" : "false"),
            ("THREADS", Threads(variant.HeadDim)), ("STREAMS", AttentionArgs.Streams(variant.Streams)));
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, heads * headDim) f32</param>
    /// <param name="headDim">numbers per head</param>
    /// <param name="rows">positions and sequences</param>
    /// <param name="mask">what a row may see</param>
    /// <param name="partials">what the split kernel left</param>
    /// <param name="base2">the split kernel computes powers of two (tensor cores), not of e</param>
    public void Launch(GpuStream stream, in Tensor y, int headDim, in BatchRows rows, in AttentionMask mask,
        Partials partials, bool base2)
    {
        int heads = y.Columns / headDim;
        variants[new(headDim, base2, !rows.Streams.IsNone)].Launch(stream, new Grid(heads, rows.Count, 1, Threads(headDim)), new()
        {
            Mask = new(mask, rows), Partials = partials, Y = y.Address, Positions = rows.Positions.Address,
            Sequences = rows.Sequences.Address, Heads = heads,
        });
    }
}
