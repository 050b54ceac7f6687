using KvCuda.Backends.Cuda;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>Products of prompt size at the models' shapes, each beside cuBLAS.</summary>
internal static class GemmSection
{
    /// <summary>name, inputs, outputs.</summary>
    public static IReadOnlyList<(string Name, int Inputs, int Outputs)> Shapes(bool tiny) => tiny
        ? [("q", 64, 64), ("down", 128, 64)]
        : [
            ("1.1B q", 2048, 2048), ("1.1B gate", 2048, 5632), ("1.1B down", 5632, 2048),
            ("7B q", 4096, 4096), ("7B gate", 4096, 11008), ("7B down", 11008, 4096), ("8192 cubed", 8192, 8192),
        ];

    public static void Run(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        using Cublas? cublas = bench.Libraries.Driver.IsHostRunner ? null : Cublas.TryOpen(backend.Stream);
        foreach ((string name, int inputs, int outputs) in Shapes(bench.Tiny))
        {
            foreach (int rows in bench.Tiny ? [70] : name == "8192 cubed" ? [8192] : new[] { 2048, 8192 })
            {
                using var verbs = new VerbBench(backend, ModelShape.Tiny, DType.BF16, pageTokens: 64, bench.Tiny);
                VerbResult ours = verbs.MatMul(name, rows, inputs, outputs);
                double theirs = cublas is null ? 0 : verbs.Cublas(cublas, rows, inputs, outputs);
                bench.Add(new($"gemm/{name}/{rows}", $"{name}: {rows} rows, {inputs} to {outputs}", ours.Microseconds, "us")
                {
                    Microseconds = ours.Microseconds, Flops = 2.0 * rows * inputs * outputs,
                    Share = theirs > 0 ? theirs / ours.Microseconds : double.NaN, Of = "cuBLAS", Target = Targets.Gemm,
                    Note = theirs > 0 ? $"cuBLAS {Markdown.Number(theirs)} us" : "",
                });
            }
        }
    }
}
