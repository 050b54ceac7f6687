// What every kernel costs on paper: registers, spills and shared memory from the assembler, instructions from the disassembler.
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;
using KvCuda.Interop;
using KvCuda.Kernels;

namespace KvCuda.Study;

/// <summary>One kernel variant on one architecture.</summary>
/// <param name="Name">kernel, variant and architecture</param>
/// <param name="Usage">registers, spills, shared memory</param>
/// <param name="Sass">machine instructions in all, and those that touch global memory; empty without a disassembler</param>
internal sealed record KernelCount(string Name, KernelUsage Usage, IReadOnlyList<(string What, int Count)> Sass);

/// <summary>Compiles the catalogue; compiled kernels come from the disk cache.</summary>
internal static partial class KernelCounts
{
    static readonly string[] architectures = ["sm_80", "sm_90a"];

    /// <param name="nvrtc">the compiler</param>
    /// <param name="filter">kernels whose name contains this; null: all</param>
    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "The command is never trimmed.")]
    [UnconditionalSuppressMessage("AOT", "IL3050", Justification = "The command is never compiled ahead without a run time.")]
    public static IReadOnlyList<KernelCount> Of(Nvrtc nvrtc, string? filter)
    {
        KernelCache? cache = KernelCache.Open(KernelCache.DefaultDirectory(), out _);
        KernelCompiler[] compilers = [.. architectures.Select(a => new KernelCompiler(nvrtc, a, KernelFiles.Embedded, cache))];
        string? tool = Disassembler(nvrtc);
        (CatalogEntry Entry, KernelCompiler Compiler)[] work =
        [
            .. from entry in KernelCatalog.All()
               where filter is null || entry.Source.ToString().Contains(filter, StringComparison.Ordinal)
               from compiler in compilers where entry.Budget.AppliesTo(compiler.Architecture) select (entry, compiler),
        ];
        var counts = new KernelCount?[work.Length];
        Parallel.For(0, work.Length, new() { MaxDegreeOfParallelism = Environment.ProcessorCount }, i =>
        {
            CompiledKernel kernel = work[i].Compiler.Compile(work[i].Entry.Source);
            if (kernel.Usage is { } usage)
            {
                counts[i] = new($"{work[i].Entry.Source} {work[i].Compiler.Architecture}", usage, tool is null ? [] : Sass(tool, kernel.Cubin));
            }
        });
        return [.. counts.OfType<KernelCount>()];
    }

    /// <summary>nvdisasm beside NVRTC or on the path; null: none.</summary>
    static string? Disassembler(Nvrtc nvrtc) => new[] { Path.GetDirectoryName(nvrtc.Path) }
        .Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator))
        .Where(folder => !string.IsNullOrEmpty(folder)).Select(folder => Path.Combine(folder!, "nvdisasm")).FirstOrDefault(File.Exists);

    static IReadOnlyList<(string, int)> Sass(string tool, byte[] cubin)
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(file, cubin);
            using Process process = Process.Start(new ProcessStartInfo(tool, ["-c", file]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string text = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode != 0 ? throw new DeviceException($"nvdisasm: {errors.Result}") : CountSass(text);
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>Instructions in all, global loads and global stores of a listing.</summary>
    internal static IReadOnlyList<(string What, int Count)> CountSass(string listing)
    {
        string[] names = [.. Instruction().Matches(listing).Select(match => match.Groups[1].Value)];
        int Of(params string[] starts) => names.Count(name => starts.Any(start => name.StartsWith(start, StringComparison.Ordinal)));
        return [("instructions", names.Length), ("global loads", Of("LDG", "UBLKCP", "UTMALDG")), ("global stores", Of("STG", "RED", "UTMASTG"))];
    }

    [GeneratedRegex(@"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")]
    private static partial Regex Instruction();
}
