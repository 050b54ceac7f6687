using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.Kernels;
using KvCuda.Kernels.Matmul;
using KvCuda.Model;

namespace KvCuda.GpuBench;

/// <summary>Forms of kernels that the plan does not choose, beside the one it does: the next row to change in a plan.</summary>
internal static class VariantSection
{
    public static void Run(Bench bench)
    {
        Programmatic(bench);
        Few(bench);
        using CudaBackend backend = bench.Open();
        using GpuContext.Scope scope = backend.Stream.Context.Enter();
        MatvecSweep.Run(bench, backend);
        WgmmaSweep.Run(bench, backend);
    }

    // Decode steps of several sequences with the product that reads the weights once.
    static void Few(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : ModelShape.Medium;
        int context = bench.Tiny ? 9 : 1024, steps = bench.Tiny ? 1 : 24;
        string before = MatmulPreference.Value;
        foreach (int sequences in bench.Tiny ? [2] : new[] { 1, 8, 32, 64 })
        {
            double[] times = new double[2];
            foreach (int on in new[] { 0, 1 })
            {
                MatmulPreference.Value = on == 1 ? "few" : "";
                using LoadedModel model = bench.Models.Load(shape, sequences, context + (3 * steps) + 16);
                using var loop = new DecodeLoop(model, sequences, context);
                times[on] = loop.Measure(steps).Device;
            }
            bench.Add(new($"variants/few/{sequences}/off", $"{shape.Name}, decode step of {sequences} on the device, matvec (chosen)", times[0], "us"));
            bench.Add(new($"variants/few/{sequences}/on", $"{shape.Name}, decode step of {sequences} on the device, matmul_few", times[1], "us")
            {
                Note = $"{times[0] / times[1]:F2} times as fast; KVCUDA_MATMUL=few",
            });
        }
        MatmulPreference.Value = before;
    }

    // The step of decode, whose kernels prefetch weights before they wait for the kernel in front of them.
    static void Programmatic(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : ModelShape.Medium;
        int context = bench.Tiny ? 9 : 128, steps = bench.Tiny ? 1 : 64;
        bool before = ProgrammaticLaunch.Enabled;
        double[] times = new double[2];
        foreach (int on in new[] { 0, 1 })
        {
            ProgrammaticLaunch.Enabled = on == 1;
            using LoadedModel model = bench.Models.Load(shape, 1, context + (3 * steps) + 16);
            using var loop = new DecodeLoop(model, 1, context);
            times[on] = loop.Measure(steps).Device;
        }
        ProgrammaticLaunch.Enabled = before;
        bench.Add(new("variants/programmatic/off", $"{shape.Name}, decode step on the device, plain launches (chosen)", times[0], "us") { Microseconds = times[0], Bytes = shape.Parameters() * 2 });
        bench.Add(new("variants/programmatic/on", $"{shape.Name}, decode step on the device, programmatic launches", times[1], "us")
        {
            Microseconds = times[1], Bytes = shape.Parameters() * 2, Note = $"{times[0] / times[1]:F2} times as fast; KVCUDA_PDL=1",
        });
    }
}
