using System.Runtime.InteropServices;

namespace KvCuda.Interop;

/// <summary>One name or path that was given to the loader, and what the loader said.</summary>
/// <param name="Path">a name that the loader searches for, or a full path</param>
/// <param name="Error">the loader's words; null if it was loaded</param>
internal readonly record struct ProbeAttempt(string Path, string? Error);

/// <summary>
/// Looks for a native library under several names and remembers every attempt, so that "not found" can say where it
/// looked. Nothing is loaded before <see cref="Driver"/>, <see cref="Nvrtc"/> or <see cref="Library"/> is called.
/// </summary>
internal sealed class NativeProbe
{
    readonly List<ProbeAttempt> attempts = [];

    NativeProbe(string what, IEnumerable<string> candidates)
    {
        What = what;
        foreach (string candidate in candidates.Distinct())
        {
            if (TryLoad(candidate))
            {
                return;
            }
        }
    }

    /// <summary>What was looked for: "the NVIDIA driver".</summary>
    public string What { get; }

    /// <summary>The loader's handle; 0 if nothing was found.</summary>
    public nint Handle { get; private set; }

    /// <summary>What was loaded.</summary>
    public string? Path { get; private set; }

    public IReadOnlyList<ProbeAttempt> Attempts => attempts;

    /// <summary>The driver's library. It comes with the driver only, never with a toolkit.</summary>
    public static NativeProbe Driver() => new("the NVIDIA driver", OperatingSystem.IsWindows()
        ? ["nvcuda.dll"]
        : ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "libcuda.so"]);

    /// <summary>
    /// The run-time compiler: what KVCUDA_NVRTC names, then the loader's own places, then toolkits and Python packages.
    /// </summary>
    /// <param name="driverVersion">as cuDriverGetVersion gives it (12040): a compiler of a later major version is tried last</param>
    public static NativeProbe Nvrtc(int driverVersion) => new("NVRTC", NvrtcPaths.Candidates(driverVersion / 1000));

    /// <summary>One library at a known place: a stand-in for driver and compiler, say.</summary>
    public static NativeProbe Library(string what, string path) => new(what, [path]);

    /// <summary>The error that says what was tried and what to do.</summary>
    public DeviceException NotFound(string advice)
    {
        string tried = string.Concat(attempts.Select(a => $"\n  {a.Path}: {a.Error}"));
        return new($"{What} was not found. {advice} Tried:{tried}");
    }

    bool TryLoad(string candidate)
    {
        // A full path that is not there is told from one that does not load.
        if (System.IO.Path.IsPathRooted(candidate) && !File.Exists(candidate))
        {
            attempts.Add(new(candidate, "no such file"));
            return false;
        }
        try
        {
            PreloadBuiltins(candidate);
            Handle = NativeLibrary.Load(candidate);
            Path = candidate;
            attempts.Add(new(candidate, null));
            return true;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            attempts.Add(new(candidate, LoaderWords(e.Message)));
            return false;
        }
    }

    // NVRTC opens libnvrtc-builtins by its bare name, which finds nothing in a folder that the loader does not know. A
    // library that is already loaded is found by name wherever it came from.
    static void PreloadBuiltins(string candidate)
    {
        string? folder = System.IO.Path.GetDirectoryName(candidate);
        if (string.IsNullOrEmpty(folder) || !candidate.Contains("nvrtc", StringComparison.Ordinal))
        {
            return;
        }
        foreach (string file in Directory.EnumerateFiles(folder, "*nvrtc-builtins*"))
        {
            NativeLibrary.TryLoad(file, out _);
        }
    }

    // The run time lists each spelling it tried, a line each; the loader's own complaint about ours comes first.
    static string LoaderWords(string message)
    {
        string[] lines = message.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return lines.FirstOrDefault(line => line.Contains(": ", StringComparison.Ordinal) &&
            !line.StartsWith("Unable to load", StringComparison.Ordinal)) ?? lines[0];
    }
}
