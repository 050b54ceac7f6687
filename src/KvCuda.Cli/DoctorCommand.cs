using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using KvCuda.Backends.Cpu;
using KvCuda.Backends.Cpu.Amx;
using KvCuda.Gpu;
using KvCuda.Interop;
using KvCuda.Kernels;

namespace KvCuda.Cli;

/// <summary>
/// `kvcuda doctor`: what was found on this machine, every path tried, what is missing and how to get it. It never fails:
/// what it cannot find out is part of the report.
/// </summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        var kernels = new Option<bool>("--kernels")
        {
            Description = "Compile every kernel for sm_80 and sm_90a and print its budget and what it uses",
        };
        var kernel = new Option<string?>("--kernel")
        {
            Description = "With --kernels: only those whose name contains this",
        };
        var startup = new Option<string?>("--startup")
        {
            Description = "Compile the kernels that this model needs, and print how long the first start and later ones take",
        };
        var command = new Command("doctor", "What was found on this machine, every path tried, what is missing") { kernels, kernel, startup };
        command.SetAction(parse => parse.GetValue(startup) is { } model ? KernelStartup.Report(model, parse.InvocationConfiguration.Output)
            : parse.GetValue(kernels) || parse.GetValue(kernel) is not null
            ? KernelTable(parse.InvocationConfiguration.Output, parse.InvocationConfiguration.Error, parse.GetValue(kernel)) : Report(parse.InvocationConfiguration.Output));
        return command;
    }

    /// <summary>Writes the report.</summary>
    public static int Report(TextWriter output)
    {
        output.WriteLine($"KvCuda {typeof(KernelCatalog).Assembly.GetName().Version?.ToString(3)}, {RuntimeInformation.FrameworkDescription}, " +
            $"{RuntimeInformation.OSDescription.Trim()}, {RuntimeInformation.RuntimeIdentifier}");
        Section(output, "CPU", Cpu);
        CudaDriver? driver = null;
        bool devices = false;
        Section(output, "NVIDIA driver", o => (driver, devices) = Driver(o));
        bool compiler = false;
        Section(output, "Run-time compiler (NVRTC)", o => compiler = Compiler(o, driver));
        Section(output, "Kernel cache", Cache);
        Section(output, "Host runner (kernels on the CPU, for tests: --device cuda-host)", HostRunner);
        output.WriteLine();
        output.WriteLine(devices && compiler
            ? "--device auto uses CUDA."
            : "--device auto uses the CPU: " + (driver is null ? "there is no NVIDIA driver." : !devices ? "there is no NVIDIA device." : "there is no NVRTC."));
        return 0;
    }

    static void Section(TextWriter output, string title, Action<TextWriter> body)
    {
        output.WriteLine();
        output.WriteLine(title);
        try
        {
            body(output);
        }
#pragma warning disable CA1031 // Whatever goes wrong while looking is a finding.
        catch (Exception e)
#pragma warning restore CA1031
        {
            Line(output, "failed", e.Message);
        }
    }

    static void Line(TextWriter output, string name, string value) =>
        output.WriteLine($"  {name,-12} {value.ReplaceLineEndings("\n               ")}");

    static void Cpu(TextWriter output)
    {
        Line(output, "threads", $"{Environment.ProcessorCount}");
        (string Name, bool Has)[] features =
        [
            ("AVX2", Avx2.IsSupported), ("FMA", Fma.IsSupported), ("AVX-512F", Avx512F.IsSupported), ("AVX-512BW", Avx512BW.IsSupported),
            ("AVX-512VBMI", Avx512Vbmi.IsSupported), ("AVX10.1", Avx10v1.IsSupported), ("AdvSimd", AdvSimd.IsSupported),
        ];
        Line(output, "SIMD", string.Join(", ", features.Where(f => f.Has).Select(f => f.Name).DefaultIfEmpty("none that KvCuda knows")));
        Line(output, "kernels", Kernels());
        GCMemoryInfo memory = GC.GetGCMemoryInfo();
        Line(output, "memory", $"{memory.TotalAvailableMemoryBytes / (double)(1L << 30):F1} GiB");
    }

    // Which of its instruction sets the CPU backend uses, and how to choose another.
    static string Kernels()
    {
        string there = string.Join(", ", Enum.GetValues<InstructionSet>().Where(set => set.IsAvailable()).Select(set => set.Name()));
        try
        {
            string missing = Tiles.Missing is { } why ? $"; AMX: {why}" : "";
            return $"{InstructionSets.Chosen().Name()} ({InstructionSets.Variable}=amx|avx512|avx2|portable forces one; here: {there}{missing})";
        }
        catch (DeviceException error)
        {
            return error.Message;
        }
    }

    static (CudaDriver?, bool) Driver(TextWriter output)
    {
        NativeProbe probe = NativeProbe.Driver();
        Tried(output, probe);
        if (probe.Path is null)
        {
            Line(output, "missing", "libcuda comes with NVIDIA's driver (nvidia-smi shows it); in a container, run with --gpus all.");
            return (null, false);
        }
        var cuda = new CudaDriver(probe.Handle, probe.Path);
        int version = cuda.Version();
        Line(output, "version", $"CUDA {version / 1000}.{version % 1000 / 10}" + (version < 12000 ? ": too old, KvCuda needs 12.0 or later" : ""));
        cuda.Initialise();
        int count = GpuDevice.Count(cuda);
        for (int ordinal = 0; ordinal < count; ordinal++)
        {
            GpuDevice device = GpuDevice.Open(cuda, ordinal);
            Line(output, $"cuda:{ordinal}", $"{device}, {device.MemoryBytes / (double)(1L << 30):F1} GiB, {device.Multiprocessors} multiprocessors, " +
                $"code for {device.Architecture}" + (device.Compute.Major < 8 ? ": too old, KvCuda's kernels need 8.0 or later" : ""));
        }
        if (count > 0)
        {
            GCMemoryInfo host = GC.GetGCMemoryInfo();
            long free = Math.Max(0, host.TotalAvailableMemoryBytes - host.MemoryLoadBytes);
            Line(output, "host tier", $"--host-kv-budget pins host memory for cold keys and values; {free / (double)(1L << 30):F1} GiB are free now");
        }
        if (count == 0)
        {
            Line(output, "missing", "the driver shows no device; see nvidia-smi and CUDA_VISIBLE_DEVICES.");
        }
        return (cuda, count > 0);
    }

    static bool Compiler(TextWriter output, CudaDriver? driver)
    {
        int version = driver?.Version() ?? 0;
        NativeProbe probe = NativeProbe.Nvrtc(version);
        Tried(output, probe);
        if (probe.Path is null)
        {
            Line(output, "missing", "install the CUDA toolkit's run-time compiler (package cuda-nvrtc), or `pip install nvidia-cuda-nvrtc`,\n" +
                "or name the library: KVCUDA_NVRTC=/path/to/libnvrtc.so.12");
            return false;
        }
        var nvrtc = new Nvrtc(probe.Handle, probe.Path);
        Line(output, "version", nvrtc.Version.ToString());
        if (version > 0 && nvrtc.Version.Major * 1000 > version)
        {
            Line(output, "warning", "it is of a later major version than the driver, which may refuse its code.");
        }
        return true;
    }

    static void Cache(TextWriter output)
    {
        string? directory = KernelCache.DefaultDirectory();
        Line(output, "directory", directory ?? "none (KVCUDA_CACHE=off)");
        KernelCache? cache = KernelCache.Open(directory, out string? whyNot);
        if (directory is not null)
        {
            string[] files = cache is null ? [] : Directory.GetFiles(directory);
            Line(output, "state", cache is null
                ? $"not used: {whyNot}; kernels are compiled at every start"
                : $"{files.Length} kernels, {files.Sum(f => new FileInfo(f).Length) / 1024.0:F0} KiB");
        }
    }

    static void HostRunner(TextWriter output)
    {
        string? path = CudaLibraries.HostRunnerPath();
        if (path is null)
        {
            Line(output, "missing", "only needed to run kernels without a GPU; `./build.sh test` builds it, or name it: KVCUDA_HOST_RUNNER=/path");
            return;
        }
        Tried(output, NativeProbe.Library("the host runner", path));
    }

    static void Tried(TextWriter output, NativeProbe probe)
    {
        foreach (ProbeAttempt attempt in probe.Attempts)
        {
            Line(output, attempt.Error is null ? "found" : "tried", attempt.Path + (attempt.Error is null ? "" : $": {attempt.Error}"));
        }
    }

    /// <summary>Budgets and what the compiler says, as a Markdown table. Exit code 1 if a kernel breaks its budget.</summary>
    /// <param name="output">where the table goes</param>
    /// <param name="progress">told how far it is</param>
    /// <param name="filter">kernels whose name contains this; null: all</param>
    public static int KernelTable(TextWriter output, TextWriter progress, string? filter)
    {
        NativeProbe probe = NativeProbe.Nvrtc(0);
        if (probe.Path is null)
        {
            output.WriteLine(probe.NotFound("tests/fetch-nvrtc.sh fetches it into .tools/nvrtc; KVCUDA_NVRTC names another one.").Message);
            return 1;
        }
        var nvrtc = new Nvrtc(probe.Handle, probe.Path);
        KernelCache? cache = KernelCache.Open(KernelCache.DefaultDirectory(), out _);
        string[] architectures = ["sm_80", "sm_90a"];
        KernelCompiler[] compilers = [.. architectures.Select(a => new KernelCompiler(nvrtc, a, KernelFiles.Embedded, cache))];
        IReadOnlyList<CatalogEntry> catalog = [.. KernelCatalog.All()
            .Where(entry => filter is null || entry.Source.ToString().Contains(filter, StringComparison.Ordinal))];
        if (catalog.Count == 0)
        {
            throw new InvalidRequestException($"No kernel's name contains '{filter}'; `kvcuda doctor --kernels` lists all.");
        }
        int done = 0;
        string[] rows = new string[catalog.Count];
        int broken = 0;
        Parallel.For(0, catalog.Count, new() { MaxDegreeOfParallelism = Environment.ProcessorCount }, i =>
        {
            (_, KernelSource source, KernelBudget budget) = catalog[i];
            string row = $"| {source} | {budget.Registers} | {Bytes(budget.SharedBytes)} + {Bytes(budget.DynamicSharedBytes)}";
            foreach (KernelCompiler compiler in compilers)
            {
                if (!budget.AppliesTo(compiler.Architecture))
                {
                    row += " | - | - | -";
                    continue;
                }
                try
                {
                    KernelUsage usage = compiler.Compile(source).Usage
                        ?? throw new DeviceException($"{source}: NVRTC {nvrtc.Version} says nothing of registers in a form that KvCuda knows.");
                    bool over = budget.Violations(usage, compiler.Architecture, assembly: null).Any();
                    row += $" | {usage.Registers}{(over ? " **over**" : "")} | {usage.SpillBytes} | {Bytes(usage.SharedBytes)}";
                    Interlocked.Add(ref broken, over ? 1 : 0);
                }
                catch (DeviceException e)
                {
                    row += " | **does not compile** | | ";
                    Interlocked.Increment(ref broken);
                    lock (output)
                    {
                        output.WriteLine(e.Message);
                    }
                }
            }
            rows[i] = row + " |";
            int now = Interlocked.Increment(ref done);
            if (now == catalog.Count || now % Math.Max(1, catalog.Count / 20) == 0)
            {
                lock (progress)
                {
                    progress.WriteLine($"{now} of {catalog.Count} kernels compiled");
                }
            }
        });
        output.WriteLine($"# Kernel budgets and actuals: NVRTC {nvrtc.Version}");
        output.WriteLine();
        output.WriteLine("Registers per thread, spilled bytes per thread, shared bytes per block (static, and + the most that a launch adds).");
        output.WriteLine("Printed by `./build.sh budgets`; `./build.sh test KernelGate` holds every kernel to them.");
        output.WriteLine();
        output.WriteLine("| kernel | registers allowed | shared allowed | " +
            string.Join(" | ", architectures.Select(a => $"{a}: registers | spills | shared")) + " |");
        output.WriteLine("|---|" + string.Concat(Enumerable.Repeat("--:|", 2 + 3 * architectures.Length)));
        foreach (string row in rows)
        {
            output.WriteLine(row);
        }
        return broken == 0 ? 0 : 1;
    }

    static string Bytes(int bytes) => bytes.ToString("#,0", CultureInfo.InvariantCulture);
}
