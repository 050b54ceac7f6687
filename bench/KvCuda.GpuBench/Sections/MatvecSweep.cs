using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.Interop;
using KvCuda.Kernels;
using KvCuda.Kernels.Matmul;

namespace KvCuda.GpuBench;

/// <summary>
/// kernels/matmul/matvec.cu with other constants than its launcher bakes: outputs per warp, loads under way per output,
/// threads per block. A row's bits do not depend on any of them, so the launcher may take whichever is fastest.
/// </summary>
internal static class MatvecSweep
{
    readonly record struct Form(int Outputs, int Loads, int Threads)
    {
        /// <summary>What <see cref="Matvec"/> bakes.</summary>
        public static Form Chosen => new(2, 4, 128);

        public override string ToString() => $"outputs {Outputs}, loads {Loads}, threads {Threads}";
    }

    public static void Run(Bench bench, CudaBackend backend)
    {
        GpuContext context = backend.Stream.Context;
        KernelCache? cache = KernelCache.Open(KernelCache.DefaultDirectory(), out _);
        using var library = new KernelLibrary(context, new(bench.Libraries.Compiler, context.Device.Architecture, KernelFiles.Embedded, cache));
        Form[] forms = bench.Tiny ? [Form.Chosen, new(1, 8, 128)]
            : [.. from outputs in new[] { 1, 2, 4 } from loads in new[] { 2, 4, 8 } from threads in new[] { 64, 128, 256 }
                  where outputs * loads <= 16 select new Form(outputs, loads, threads)];
        var kernels = forms.ToDictionary(f => f, f => library.Load(Source(f)));
        library.Complete();
        foreach ((string name, int inputs, int outputs) in bench.Tiny ? [("q", 64, 64)] : Shapes)
        {
            Measure(bench, backend, kernels, name, inputs, outputs);
        }
    }

    // The products of a decode step, by how often their shape is met.
    static readonly (string Name, int Inputs, int Outputs)[] Shapes =
    [
        ("1.1B q", 2048, 2048), ("1.1B gate", 2048, 5632), ("1.1B down", 5632, 2048), ("1.1B head", 2048, 32000), ("7B gate", 4096, 11008), ("7B down", 11008, 4096),
    ];

    static KernelSource<Matvec.Args> Source(Form form) => new("matmul/matvec.cu", ("WEIGHT", "bf16"), ("BIAS", "bf16"), ("VECTOR", 8),
        ("ROWS", 1), ("OUTPUTS", form.Outputs), ("LOADS", form.Loads), ("THREADS", form.Threads), ("EPILOGUE", 0));

    static void Measure(Bench bench, CudaBackend backend, Dictionary<Form, Kernel<Matvec.Args>> kernels, string name, int inputs, int outputs)
    {
        long bytes = 2L * inputs * outputs, cold = bench.Tiny ? bytes : 256L << 20;
        int copies = (int)Math.Clamp((cold / bytes) + 1, 1, 64);
        nint weights = backend.AllocateBytes("weights", bytes * copies), x = backend.AllocateBytes("x", 4L * inputs), y = backend.AllocateBytes("y", 4L * outputs);
        Fill(backend, weights, bytes * copies, Tensors.DType.BF16);
        Fill(backend, x, 4L * inputs, Tensors.DType.F32);
        using var stopwatch = new DeviceStopwatch(backend.Stream);
        var times = new Dictionary<Form, double>();
        foreach ((Form form, Kernel<Matvec.Args> kernel) in kernels)
        {
            var grid = new Grid(Grid.Blocks(outputs, form.Outputs * form.Threads / 32), form.Threads);
            times[form] = stopwatch.MicrosecondsInGraph(call => kernel.Launch(backend.Stream, grid, new()
            {
                Y = y, X = x, Weight = weights + (nint)(call % copies * bytes), Rows = 1, Inputs = inputs, Outputs = outputs,
            }));
        }
        (Form best, double least) = times.MinBy(t => t.Value);
        double chosen = times[Form.Chosen];
        bench.Add(new($"variants/matvec/{name}/chosen", $"matvec, {name}: {Form.Chosen} (chosen)", chosen, "us") { Microseconds = chosen, Bytes = bytes });
        bench.Add(new($"variants/matvec/{name}/best", $"matvec, {name}: {best} (fastest of {times.Count})", least, "us")
        {
            Microseconds = least, Bytes = bytes,
            Note = string.Join("; ", times.OrderBy(t => t.Value).Take(4).Select(t => $"{t.Key}: {Markdown.Number(t.Value)} us")),
        });
        backend.Free(weights);
        backend.Free(x);
        backend.Free(y);
    }

    static void Fill(CudaBackend backend, nint address, long bytes, Tensors.DType type)
    {
        byte[] block = RandomBytes.Of(type, 1 << 16);
        RandomBytes.Fill(bytes, block, part => backend.Write(new("bench", type, address, 1, part.Length / Tensors.DTypes.Bytes(type)), part),
            (to, from, count) => backend.CopyBytes(address + (nint)to, address + (nint)from, count));
    }
}
