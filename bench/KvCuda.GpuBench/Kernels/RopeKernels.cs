using KvCuda.Kernels.Rope;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Rope()
    {
        yield return RopeAngles();
        yield return Rotate();
    }

    KernelResult RopeAngles()
    {
        var kernel = new RopeAngles(backend.Library);
        Tensor cosSin = Empty(DType.F32, many, headDim), positions = Ints(1, many, i => i), frequencies = Numbers(DType.F32, 1, headDim / 2);
        return Measure("rope_angles", $"({many}, {headDim})", 4.0 * many * headDim, 0, _ => kernel.Launch(backend.Stream, cosSin, positions, frequencies, 1));
    }

    KernelResult Rotate()
    {
        var kernel = new Rotate(backend.Library);
        Tensor x = Numbers(DType.F32, many, heads * headDim), cosSin = Numbers(DType.F32, many, headDim);
        return Measure("rotate", $"({many}, {heads} x {headDim})", 8.0 * many * heads * headDim, 0, _ => kernel.Launch(backend.Stream, x, cosSin, headDim));
    }
}
