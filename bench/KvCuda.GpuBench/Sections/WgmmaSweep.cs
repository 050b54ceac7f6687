using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.Kernels;
using KvCuda.Kernels.Matmul;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>kernels/matmul/matmul_wgmma.cu, which no plan chooses yet, beside matmul_mma and cuBLAS on prompts' products.</summary>
internal static class WgmmaSweep
{
    public static void Run(Bench bench, CudaBackend backend)
    {
        GpuContext context = backend.Stream.Context;
        if (context.Device.Architecture != MatmulWgmma.Architecture)
        {
            return;
        }
        KernelCache? cache = KernelCache.Open(KernelCache.DefaultDirectory(), out _);
        using var library = new KernelLibrary(context, new(bench.Libraries.Compiler, context.Device.Architecture, KernelFiles.Embedded, cache));
        var wgmma = new MatmulWgmma(library);
        var mma = new MatmulMma(library);
        using Cublas? cublas = bench.Libraries.Driver.IsHostRunner ? null : Cublas.TryOpen(backend.Stream);
        foreach ((string name, int inputs, int outputs) in GemmSection.Shapes(bench.Tiny))
        {
            int rows = bench.Tiny ? 70 : name == "8192 cubed" ? 8192 : 2048;
            using var verbs = new VerbBench(backend, ModelShape.Tiny, DType.BF16, pageTokens: 64, bench.Tiny);
            double theirs = cublas is null ? 0 : verbs.Cublas(cublas, rows, inputs, outputs);
            var times = new List<(string Form, double Time)>
            {
                ("mma large", verbs.Product(rows, inputs, outputs, (y, x, w) => mma.Launch(backend.Stream, y, x, w, default, Epilogue.Store, MatmulMma.Tile.Large))),
                ("wgmma 128 x 256", verbs.Product(rows, inputs, outputs, (y, x, w) => wgmma.Launch(backend.Stream, y, x, w, default, Epilogue.Store, MatmulWgmma.Tile.Large))),
                ("wgmma 128 x 128", verbs.Product(rows, inputs, outputs, (y, x, w) => wgmma.Launch(backend.Stream, y, x, w, default, Epilogue.Store, MatmulWgmma.Tile.Small))),
            };
            string fastest = times.MinBy(t => t.Time).Form;
            foreach ((string form, double time) in times)
            {
                bench.Add(new($"variants/gemm/{name}/{form}", $"{name}, {rows} rows: {form}{(form == fastest ? " (fastest)" : "")}", time, "us")
                {
                    Microseconds = time, Flops = 2.0 * rows * inputs * outputs, Note = theirs > 0 ? $"{theirs / time:F2} of cuBLAS on this shape" : "",
                });
            }
        }
    }
}
