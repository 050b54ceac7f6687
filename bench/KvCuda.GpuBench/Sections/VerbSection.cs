using KvCuda.Backends.Cuda;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>Every verb at the three models' sizes: where a whole model's time goes.</summary>
internal static class VerbSection
{
    public static void Run(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        foreach (ModelShape shape in bench.Tiny ? [ModelShape.Tiny] : new[] { ModelShape.Medium, ModelShape.Large, ModelShape.Small })
        {
            using var verbs = new VerbBench(backend, shape, DType.BF16, pageTokens: 64, bench.Tiny);
            foreach (VerbResult r in verbs.Run())
            {
                bench.Add(new($"verbs/{shape.Name}/{r.Verb}/{r.Shape}", $"{shape.Name} {r.Verb} {r.Shape}", r.Microseconds, "us")
                {
                    Microseconds = r.Microseconds, Bytes = r.Bytes, Flops = r.Flops,
                });
            }
        }
    }
}
