using KvCuda.Gpu;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Attention;

/// <summary>
/// Attention: plans, then launches. Whatever the plan, a row has the same bits: for tensor cores and for the exact kernel,
/// the order of its chunks is the same split or not, in a tile of one row or of many.
/// </summary>
internal sealed class AttentionKernels(KernelLibrary library)
{
    readonly AttendExact exact = new(library);
    readonly AttendDecodeSplit decode = new(library);
    readonly AttendPrefill prefill = new(library);
    readonly MergeSplits merge = new(library);

    /// <summary>Everything in f32, whatever the KV's type.</summary>
    public bool Exact { get; init; }

    /// <summary>Bytes of scratch that <see cref="Launch"/> wants for this call; at most <see cref="AttentionPlan.MostScratchBytes"/>.</summary>
    public long ScratchBytes(in Tensor q, in KvView kv, int rows) => Plan(q, kv, rows).Split
        ? Partials.Bytes(rows, q.Columns / kv.HeadDim, kv.HeadDim, Partials.ChunksOf(kv))
        : 0;

    /// <summary>What a call of this shape runs on.</summary>
    public AttentionPlan Plan(in Tensor q, in KvView kv, int rows)
    {
        bool tensorCores = !Exact && AttendPrefill.Takes(new(kv)) && kv.LayerOffset % 16 == 0 && kv.Arena % 16 == 0;
        int heads = q.Columns / kv.HeadDim, chunks = Partials.ChunksOf(kv);
        int perBlock = AttentionArgs.HeadsPerBlock(heads, kv.KvHeads, tensorCores ? 16 : 8);
        return AttentionPlan.Choose(tensorCores, rows, kv.PageTable.Rows, rows * (heads / perBlock), chunks,
            Partials.Bytes(rows, heads, kv.HeadDim, chunks), library.Context.Device.Multiprocessors);
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="y">(rows, heads * headDim) f32</param>
    /// <param name="q">(rows, heads * headDim) f32</param>
    /// <param name="kv">where the keys and values live</param>
    /// <param name="rows">positions and sequences</param>
    /// <param name="mask">what a row may see</param>
    /// <param name="sinkQuery">where rows slide: (rows, heads * headDim) f32</param>
    /// <param name="scratch">at least <see cref="ScratchBytes"/> bytes, 16-byte aligned</param>
    public void Launch(GpuStream stream, in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery, nint scratch)
    {
        if (rows.Count == 0)
        {
            return;
        }
        AttentionPlan plan = Plan(q, kv, rows.Count);
        Partials partials = plan.Split
            ? Partials.In(scratch, rows.Count, q.Columns / kv.HeadDim, kv.HeadDim, Partials.ChunksOf(kv))
            : default;
        switch (plan.Kernel)
        {
            case AttentionPlan.Kind.Exact:
                exact.Launch(stream, y, q, kv, rows, mask, sinkQuery, partials);
                break;
            case AttentionPlan.Kind.Decode when plan.Split:
                decode.Launch(stream, q, kv, rows, mask, sinkQuery, partials);
                break;
            default:
                prefill.Launch(stream, y, q, kv, rows, mask, sinkQuery, single: plan.Kernel == AttentionPlan.Kind.Decode);
                break;
        }
        if (plan.Split)
        {
            merge.Launch(stream, y, kv.HeadDim, rows, mask, partials, base2: plan.Kernel == AttentionPlan.Kind.Decode);
        }
    }
}
