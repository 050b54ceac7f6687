using KvCuda.Backends.Cuda;
using KvCuda.Gpu;

namespace KvCuda.GpuBench;

/// <summary>Forms of kernels that the plan does not choose, beside the one it does: the next row to change in a plan.</summary>
internal static class VariantSection
{
    public static void Run(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        using GpuContext.Scope scope = backend.Stream.Context.Enter();
        MatvecSweep.Run(bench, backend);
    }
}
