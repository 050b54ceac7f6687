using KvCuda.Kernels.Kv;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Kv()
    {
        foreach (int rows in new[] { 1, many })
        {
            yield return StoreKv(rows);
            yield return ZeroKv(rows);
            yield return RotateStoreKv(rows);
        }
    }

    int KvWidth => kvHeads * headDim;

    KernelResult StoreKv(int rows)
    {
        var kernel = new StoreKv(backend.Library);
        (BatchRows batch, KvView kv) = Sequences(1, Math.Max(context, rows), rows);
        Tensor k = Numbers(DType.F32, rows, KvWidth), v = Numbers(DType.F32, rows, KvWidth);
        return Measure("store_kv", $"({rows}, {kvHeads} x {headDim})", 12.0 * rows * KvWidth, 0, _ => kernel.Launch(backend.Stream, kv, k, v, batch, default));
    }

    KernelResult ZeroKv(int rows)
    {
        var kernel = new ZeroKv(backend.Library);
        (BatchRows batch, KvView kv) = Sequences(1, Math.Max(context, rows), rows);
        return Measure("zero_kv", $"({rows}, {kvHeads} x {headDim})", 4.0 * rows * KvWidth, 0, _ => kernel.Launch(backend.Stream, kv, batch));
    }

    KernelResult RotateStoreKv(int rows)
    {
        var kernel = new RotateStoreKv(backend.Library);
        (BatchRows batch, KvView kv) = Sequences(1, Math.Max(context, rows), rows);
        Tensor q = Numbers(DType.F32, rows, heads * headDim), k = Numbers(DType.F32, rows, KvWidth), v = Numbers(DType.F32, rows, KvWidth);
        Tensor cosSin = Numbers(DType.F32, rows, headDim);
        return Measure("rotate_store_kv", $"({rows}, {heads} + 2 x {kvHeads} x {headDim})", 8.0 * rows * heads * headDim + 12.0 * rows * KvWidth, 0,
            _ => kernel.Launch(backend.Stream, kv, q, k, v, cosSin, batch, default));
    }
}
