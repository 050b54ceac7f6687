using System.Diagnostics;
using System.Globalization;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Study;

/// <summary>What ran the bench, and who else used it meanwhile. Linux only in its details; elsewhere they are "unknown".</summary>
internal static class Machine
{
    static readonly string[] NumberKeys = ["cpu family", "model\t", "stepping"];
    static readonly string[] Besides = ["avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"];

    public static string Processor => Lines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))
        ?.Split(':')[1].Trim() ?? "unknown CPU";

    /// <summary>Family-model-stepping: tells processors apart whose names are the same.</summary>
    public static string Stepping => string.Join('-', NumberKeys.Select(key =>
        Lines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "?"));

    /// <summary>What .NET sees of the instruction sets that matter here, and what the processor has besides.</summary>
    public static string InstructionSets
    {
        get
        {
            string flags = Lines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("flags", StringComparison.Ordinal)) ?? "";
            string[] used = [.. new[] { (Avx2.IsSupported, "AVX2"), (Avx512F.IsSupported, "AVX-512F"), (Avx512Vbmi.IsSupported, "AVX-512 VBMI") }
                .Where(set => set.Item1).Select(set => set.Item2)];
            string[] besides = [.. Besides.Where(flag => flags.Contains(flag, StringComparison.Ordinal))];
            return $"{string.Join(", ", used)}; the processor also has {(besides.Length == 0 ? "nothing of note" : string.Join(", ", besides))}";
        }
    }

    public static string Load => Lines("/proc/loadavg").FirstOrDefault()?.Split(' ')[0] ?? "unknown";

    /// <summary>The commit that is checked out, with a + if files differ from it.</summary>
    public static string Commit
    {
        get
        {
            string commit = Git("rev-parse --short=10 HEAD");
            return commit.Length == 0 ? "unknown" : commit + (Git("status --porcelain --untracked-files=no").Length > 0 ? "+" : "");
        }
    }

    static string Git(string arguments)
    {
        try
        {
            using Process? git = Process.Start(new ProcessStartInfo("git", arguments) { RedirectStandardOutput = true, RedirectStandardError = true });
            string text = git!.StandardOutput.ReadToEnd().Trim();
            git.WaitForExit();
            return git.ExitCode == 0 ? text : "";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "";
        }
    }

    /// <summary>Processor time in ticks since the start: all of the machine's, and what the host took away.</summary>
    public static (long Busy, long Stolen) Times()
    {
        string[] fields = Lines("/proc/stat").FirstOrDefault()?.Split(' ', StringSplitOptions.RemoveEmptyEntries) ?? [];
        long Field(int i) => i < fields.Length ? long.Parse(fields[i], CultureInfo.InvariantCulture) : 0;
        return (Field(1) + Field(2) + Field(3) + Field(6) + Field(7), Field(8));
    }

    /// <summary>Processor time in ticks of a process.</summary>
    public static long TimesOf(int process)
    {
        string line = Lines($"/proc/{process}/stat").FirstOrDefault() ?? "";
        string[] fields = line[(line.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length < 13 ? 0 : long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
    }

    /// <summary>Ticks per second of <see cref="Times"/>: a constant of Linux's interface.</summary>
    public const double TicksPerSecond = 100;

    /// <summary>Most bytes this process ever had in memory, mapped files included.</summary>
    public static long PeakBytes => Status("VmHWM:");

    static long Status(string key) => long.Parse(
        Lines("/proc/self/status").FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal))
            ?.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2].Split('\t')[^1] ?? "0", CultureInfo.InvariantCulture) * 1024;

    static IEnumerable<string> Lines(string path) => File.Exists(path) ? File.ReadLines(path) : [];
}
