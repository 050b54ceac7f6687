using KvCuda.Kernels.Mlp;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Mlp()
    {
        yield return Gate();
        yield return Activate();
    }

    KernelResult Gate()
    {
        var kernel = new Gate(backend.Library);
        Tensor gate = Numbers(DType.F32, many, hidden), up = Numbers(DType.F32, many, hidden), y = Empty(DType.F32, many, hidden);
        return Measure("gate", $"({many}, {hidden})", 12.0 * many * hidden, 0, _ => kernel.Launch(backend.Stream, y, gate, up, Activation.Silu));
    }

    KernelResult Activate()
    {
        var kernel = new Activate(backend.Library);
        Tensor x = Numbers(DType.F32, many, hidden);
        return Measure("activate", $"({many}, {hidden})", 8.0 * many * hidden, 0, _ => kernel.Launch(backend.Stream, x, Activation.GeluTanh));
    }
}
