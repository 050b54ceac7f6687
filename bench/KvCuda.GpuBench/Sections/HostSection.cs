using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.Kernels;
using KvCuda.Model;

namespace KvCuda.GpuBench;

/// <summary>
/// What the host adds to decode steps. A model of a few small layers leaves the device so little to do that whatever the host
/// costs shows; then the same at 1.1B, where it may hide. And what an empty kernel costs in a graph: the floor of a step of many.
/// </summary>
internal static class HostSection
{
    const string Nothing = """
        // nothing: an empty kernel, to see what a boundary between two kernels costs
        #include "shared/types.cuh"
        #include "shared/ptx.cuh"

        struct NothingArgs { unsigned* out; };
        extern "C" __global__ void __launch_bounds__(32) nothing(const __grid_constant__ NothingArgs args)
        {
            grid_dependency_launch();
            grid_dependency_wait();
            if (args.out != nullptr && blockIdx.x == 0xFFFFFFFFu) *args.out = 1;
        }
        SIMT_KERNEL(nothing);
        """;

    struct NothingArgs
    {
        public nint Out;
    }

    public static void Run(Bench bench)
    {
        ModelShape small = bench.Tiny ? ModelShape.Tiny : new("4 layers of 256", 256, 4, 4, 2, 64, 512, 32000);
        int context = bench.Tiny ? 9 : 128, steps = bench.Tiny ? 1 : 256;
        foreach ((ModelShape shape, int sequences) in bench.Tiny ? [(small, 1)] : new[] { (small, 1), (ModelShape.Medium, 1), (small, 64) })
        {
            using LoadedModel model = bench.Models.Load(shape, sequences, context + (3 * steps) + 16);
            using var loop = new DecodeLoop(model, sequences, context);
            StepTimes times = loop.Measure(steps);
            string what = $"{shape.Name}, {sequences} sequence{(sequences > 1 ? "s" : "")}";
            bench.Add(new($"host/{shape.Name}/{sequences}/work", $"{what}: host work", times.Host, "us")
            {
                Target = sequences == 1 ? Targets.HostWork : null, Note = $"of a step of {Markdown.Number(times.Wall)} us",
            });
            bench.Add(new($"host/{shape.Name}/{sequences}/exposed", $"{what}: the device waits", times.Exposed, "us")
            {
                Target = sequences == 1 ? Targets.Exposed : null, Note = $"{Markdown.Number(times.Device)} us are the device's",
            });
        }
        Boundaries(bench);
    }

    static void Boundaries(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        GpuContext context = backend.Stream.Context;
        using GpuContext.Scope scope = context.Enter();
        var compiler = new KernelCompiler(bench.Libraries.Compiler, context.Device.Architecture,
            KernelFiles.From(new Dictionary<string, string> { ["kernels/nothing.cu"] = Nothing }), cache: null);
        using var library = new KernelLibrary(context, compiler);
        Kernel<NothingArgs> kernel = library.Load(new KernelSource<NothingArgs>("nothing.cu"));
        library.Complete();
        using var stopwatch = new DeviceStopwatch(backend.Stream);
        foreach (bool programmatic in new[] { false, true })
        {
            Grid grid = new(context.Device.Multiprocessors, 32) { Programmatic = programmatic };
            double time = stopwatch.MicrosecondsInGraph(_ => kernel.Launch(backend.Stream, grid, new() { Out = 0 }));
            bench.Add(new($"host/boundary/{(programmatic ? "programmatic" : "plain")}",
                $"an empty kernel in a graph{(programmatic ? ", programmatic launch" : "")}", time, "us"));
        }
    }
}
