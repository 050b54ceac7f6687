using KvCuda.Kernels.Attention;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Attention()
    {
        yield return AttendExact();
        yield return AttendDecodeSplit();
        yield return MergeSplits();
        yield return AttendPrefill();
    }

    AttentionMask Mask => new(1 / MathF.Sqrt(headDim));

    double PageBytes(int sequences) => 4.0 * sequences * context * KvWidth;

    (Tensor Y, Tensor Q) Queries(int rows) => (Empty(DType.F32, rows, heads * headDim), Numbers(DType.F32, rows, heads * headDim));

    Partials Scratch(int rows, in KvView kv)
    {
        int chunks = Partials.ChunksOf(kv);
        nint scratch = backend.AllocateBytes("partials", Partials.Bytes(rows, heads, headDim, chunks));
        made.Add(scratch);
        return Partials.In(scratch, rows, heads, headDim, chunks);
    }

    KernelResult AttendExact()
    {
        var kernel = new AttendExact(backend.Library);
        (BatchRows batch, KvView kv) = Sequences(Few, context, 1);
        (Tensor y, Tensor q) = Queries(Few);
        return Measure("attend_exact", $"{Few} sequences of {context} tokens", PageBytes(Few), 0, _ => kernel.Launch(backend.Stream, y, q, kv, batch, Mask));
    }

    KernelResult AttendDecodeSplit()
    {
        var kernel = new AttendDecodeSplit(backend.Library);
        (BatchRows batch, KvView kv) = Sequences(Few, context, 1);
        (_, Tensor q) = Queries(Few);
        Partials partials = Scratch(Few, kv);
        return Measure("attend_decode_split", $"{Few} sequences of {context} tokens", PageBytes(Few), 0,
            _ => kernel.Launch(backend.Stream, q, kv, batch, Mask, default, partials));
    }

    KernelResult MergeSplits()
    {
        var kernel = new MergeSplits(backend.Library);
        (BatchRows batch, KvView kv) = Sequences(Few, context, 1);
        (Tensor y, _) = Queries(Few);
        Partials partials = Scratch(Few, kv);
        return Measure("merge_splits", $"{Few} rows of {partials.Chunks} chunks", Partials.Bytes(Few, heads, headDim, partials.Chunks), 0,
            _ => kernel.Launch(backend.Stream, y, headDim, batch, Mask, partials, base2: true));
    }

    KernelResult AttendPrefill()
    {
        var kernel = new AttendPrefill(backend.Library);
        (BatchRows batch, KvView kv) = Sequences(1, context, context);
        (Tensor y, Tensor q) = Queries(context);
        return Measure("attend_prefill", $"a prompt of {context} tokens", 0, 2.0 * context * context * heads * headDim,
            _ => kernel.Launch(backend.Stream, y, q, kv, batch, Mask, default, single: false));
    }
}
