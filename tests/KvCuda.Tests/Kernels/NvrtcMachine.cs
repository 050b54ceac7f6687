using System.Diagnostics;
using KvCuda.Interop;
using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

/// <summary>The compiler that tests use: the one that tests/fetch-nvrtc.sh fetched, else this machine's own.</summary>
static class NvrtcMachine
{
    static readonly Lazy<(Nvrtc? Compiler, string WhyNot)> found = new(Find);

    /// <summary>The repository's root.</summary>
    public static string Root => Repository.Root;

    /// <summary>The compiler; skips the test, with the reason, where there is none.</summary>
    public static Nvrtc Compiler
    {
        get
        {
            Assert.SkipWhen(found.Value.Compiler is null, found.Value.WhyNot);
            return found.Value.Compiler!;
        }
    }

    /// <summary>The compiler, or null where there is none.</summary>
    public static Nvrtc? CompilerOrNull => found.Value.Compiler;

    /// <summary>A compiler of kernel texts given in place, without a cache.</summary>
    public static KernelCompiler CompilerOf(params (string Path, string Text)[] files) =>
        new(Compiler, "sm_90a", KernelFiles.From(files.ToDictionary(f => f.Path, f => f.Text)), cache: null);

    /// <summary>The machine instructions of a cubin as text, or null where there is no disassembler.</summary>
    public static string? Disassemble(byte[] cubin)
    {
        string tool = Path.Combine(Root, ".tools", "nvrtc", "nvdisasm");
        if (!File.Exists(tool))
        {
            return null;
        }
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(file, cubin);
            var start = new ProcessStartInfo(tool, ["-c", file]) { RedirectStandardOutput = true, RedirectStandardError = true };
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string text = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, errors.Result);
            return text;
        }
        finally
        {
            File.Delete(file);
        }
    }

    static (Nvrtc?, string) Find()
    {
        string folder = Path.Combine(Root, ".tools", "nvrtc");
        string fetched = Path.Combine(folder, "libnvrtc.so.12");
        NativeProbe probe = File.Exists(fetched) ? NativeProbe.Library("the fetched NVRTC", fetched) : NativeProbe.Nvrtc(0);
        if (probe.Path is not null)
        {
            return (new(probe.Handle, probe.Path), "");
        }
        string missing = Path.Combine(folder, "missing");
        string why = File.Exists(missing) ? File.ReadAllText(missing).Trim() : "tests/fetch-nvrtc.sh was not run";
        return (null, $"no NVRTC on this machine: {why}");
    }
}
