using KvCuda.Backends.Cuda;

namespace KvCuda.GpuBench;

/// <summary>What every other section's shares are of; so it comes first.</summary>
internal static class CeilingSection
{
    public static void Run(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        Ceilings ceilings = Ceilings.Measure(bench.Libraries, backend.Stream.Context, backend.Stream,
            bench.Tiny ? 1 << 18 : 1L << 30, cube: bench.Tiny ? 64 : 8192);
        bench.File.Ceilings = ceilings;
        bench.Add(new("ceiling/copy", "copy, bytes read + written", ceilings.CopyBytesPerSecond / 1e9, "GB/s"));
        bench.Add(new("ceiling/read", "read", ceilings.ReadBytesPerSecond / 1e9, "GB/s"));
        if (ceilings.CublasFlopsPerSecond > 0)
        {
            bench.Add(new("ceiling/cublas", "cuBLAS, 8192 cubed", ceilings.CublasFlopsPerSecond / 1e12, "TFLOP/s"));
        }
    }
}
