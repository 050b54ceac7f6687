using KvCuda.Backends.Cuda;

namespace KvCuda.GpuBench;

/// <summary>Every kernel alone, by its name: Kernels/ has a method for each.</summary>
internal static class KernelSection
{
    public static void Run(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        using var kernels = new KernelBench(backend, bench.Tiny);
        foreach (KernelResult r in kernels.Run())
        {
            bench.Add(new($"kernels/{r.Kernel}/{r.Shape}", $"{r.Kernel} {r.Shape}", r.Microseconds, "us")
            {
                Microseconds = r.Microseconds, Bytes = r.Bytes, Flops = r.Flops,
            });
        }
    }
}
