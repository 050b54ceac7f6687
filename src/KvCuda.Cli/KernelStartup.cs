using System.Diagnostics;
using KvCuda.Backends;
using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.Interop;
using KvCuda.Kernels;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>
/// What starting costs: the kernels that a model's passes need, compiled by NVRTC into an empty cache (the first start), taken
/// from that cache (every later one) and, where there is a GPU, brought to it. Needs the model's config.json alone.
/// </summary>
internal static class KernelStartup
{
    /// <param name="model">config.json, or a folder that has one</param>
    /// <param name="output">where the report goes</param>
    public static int Report(string model, TextWriter output)
    {
        NativeProbe probe = NativeProbe.Nvrtc(0);
        if (probe.Path is null)
        {
            output.WriteLine(probe.NotFound("tests/fetch-nvrtc.sh fetches it into .tools/nvrtc; KVCUDA_NVRTC names another one.").Message);
            return 1;
        }
        return Measure(model, new(probe.Handle, probe.Path), output);
    }

    /// <summary>The same with a compiler that was found.</summary>
    public static int Measure(string model, Nvrtc nvrtc, TextWriter output)
    {
        ModelConfig config = ModelConfig.LoadFile(Directory.Exists(model) ? Path.Combine(model, "config.json") : model);
        GpuContext? gpu = OpenGpu();
        string architecture = (gpu?.Device ?? GpuDevice.Imaginary).Architecture;
        string folder = Directory.CreateTempSubdirectory("kvcuda-startup-").FullName;
        try
        {
            Start(config, nvrtc, architecture, cache: null, out _); // .NET's own compiler is not what is measured
            KernelCache cache = KernelCache.Open(Path.Combine(folder, "kernels"), out string? whyNot)
                ?? throw new DeviceException($"No cache in {folder}: {whyNot}");
            TimeSpan first = Start(config, nvrtc, architecture, cache, out IReadOnlyList<CompiledKernel> kernels);
            TimeSpan later = Start(config, nvrtc, architecture, cache, out IReadOnlyList<CompiledKernel> again);
            output.WriteLine($"{kernels.Count} kernels for {architecture}, {kernels.Sum(k => (long)k.Cubin.Length) / 1024:N0} KiB; NVRTC {nvrtc.Version}, "
                + $"{Environment.ProcessorCount} threads");
            output.WriteLine($"  first start: planned and compiled in     {first.TotalMilliseconds,8:N0} ms");
            output.WriteLine($"  later starts: planned, read from cache in {later.TotalMilliseconds,8:N0} ms"
                + (again.All(k => k.FromCache) ? "" : $" ({again.Count(k => !k.FromCache)} were not in the cache)"));
            output.WriteLine(gpu is null
                ? "  brought to the device in                  not measured: no GPU"
                : $"  brought to the device in                  {Load(gpu, kernels).TotalMilliseconds,8:N0} ms");
            return 0;
        }
        finally
        {
            gpu?.Dispose();
            Directory.Delete(folder, recursive: true);
        }
    }

    // What an engine does with its default options before its first token, without a device.
    static TimeSpan Start(ModelConfig config, Nvrtc nvrtc, string architecture, KernelCache? cache, out IReadOnlyList<CompiledKernel> kernels)
    {
        const int sequences = 64, rows = 256, pageTokens = 64;
        long start = Stopwatch.GetTimestamp();
        using PlanningBackend backend = PlanningBackend.ToCompileOnly(new(nvrtc, architecture, KernelFiles.Embedded, cache), Numerics.Fast);
        LayerSharing sharing = LoadedModel.SharingOf(config, null);
        DType type = config.Type ?? DType.BF16;
        nint somewhere = backend.AllocateBytes("weights", 1);
        ModelWeights weights = ModelWeights.WithoutNumbers(config, sharing.Owns, type, somewhere);
        var layout = new KvLayout(sharing,
            layer => new(config.LayerConfigs[layer].KvHeads, config.LayerConfigs[layer].HeadDim), type, pageTokens);
        int pages = (config.MaxPositions + pageTokens - 1) / pageTokens;
        var batch = new Batch(backend, rows, sequences, sequences, layout.Classes.Count, pages, pages);
        KvView KvOf(int owner, bool sliding) =>
            layout.ViewOf(owner, somewhere, sliding ? batch.StreamPageTable : batch.PageTable);
        var decoder = new Decoder(backend, config, weights, sharing, KvOf, rows, sequences);
        decoder.Prepare(backend, batch, PrefillMode.Converged, config.MaxPositions);
        backend.Complete();
        kernels = [.. backend.Library.Compiled];
        return Stopwatch.GetElapsedTime(start);
    }

    static TimeSpan Load(GpuContext gpu, IReadOnlyList<CompiledKernel> kernels)
    {
        long start = Stopwatch.GetTimestamp();
        List<GpuModule> modules = [.. kernels.Select(kernel => new GpuModule(gpu, kernel.Cubin, "a kernel"))];
        TimeSpan time = Stopwatch.GetElapsedTime(start);
        modules.ForEach(module => module.Dispose());
        return time;
    }

    static GpuContext? OpenGpu()
    {
        NativeProbe driver = NativeProbe.Driver();
        if (driver.Path is null)
        {
            return null;
        }
        try
        {
            var cuda = new CudaDriver(driver.Handle, driver.Path);
            cuda.Initialise();
            return GpuContext.Primary(cuda, GpuDevice.Open(cuda, 0));
        }
        catch (DeviceException)
        {
            return null; // a driver without a device: `doctor` tells more
        }
    }
}
