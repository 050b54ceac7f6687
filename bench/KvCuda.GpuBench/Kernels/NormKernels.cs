using KvCuda.Kernels.Norm;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Norm()
    {
        yield return RmsNorm(1);
        yield return RmsNorm(many);
        yield return LayerNorm(1);
        yield return LayerNorm(many);
    }

    KernelResult RmsNorm(int rows)
    {
        var kernel = new RmsNorm(backend.Library);
        Tensor x = Numbers(DType.F32, rows, dim), y = Empty(DType.F32, rows, dim), weight = Numbers(Type, 1, dim);
        return Measure("rms_norm", $"({rows}, {dim})", 8.0 * rows * dim, 0, _ => kernel.Launch(backend.Stream, y, x, weight, 1e-5f));
    }

    KernelResult LayerNorm(int rows)
    {
        var kernel = new LayerNorm(backend.Library);
        Tensor x = Numbers(DType.F32, rows, dim), y = Empty(DType.F32, rows, dim), weight = Numbers(Type, 1, dim), bias = Numbers(Type, 1, dim);
        return Measure("layer_norm", $"({rows}, {dim})", 8.0 * rows * dim, 0, _ => kernel.Launch(backend.Stream, y, x, weight, bias, 1e-5f));
    }
}
