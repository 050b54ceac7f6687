namespace KvCuda.Interop;

/// <summary>Where NVRTC may lie: by name, in toolkits, and in the folders of Python's NVIDIA packages.</summary>
internal static class NvrtcPaths
{
    /// <summary>Names and paths, best first.</summary>
    /// <param name="driverMajor">the driver's CUDA version: code of a later compiler may not load, so that one comes last</param>
    public static IEnumerable<string> Candidates(int driverMajor)
    {
        if (Environment.GetEnvironmentVariable("KVCUDA_NVRTC") is { Length: > 0 } named)
        {
            yield return named;
        }
        bool windows = OperatingSystem.IsWindows();
        int[] majors = driverMajor is > 0 and < 13 ? [12, 13] : [13, 12];
        foreach (int major in majors)
        {
            yield return windows ? $"nvrtc64_{major}0_0.dll" : $"libnvrtc.so.{major}";
        }
        if (!windows)
        {
            yield return "libnvrtc.so";
        }
        foreach (string folder in Folders(windows))
        {
            string[] files = Directory.Exists(folder) ? Directory.GetFiles(folder, windows ? "nvrtc64_*_0.dll" : "libnvrtc.so*") : [];
            if (files.Length == 0)
            {
                // Not there, but a report should say that it was looked at.
                yield return Path.Combine(folder, windows ? $"nvrtc64_{majors[0]}0_0.dll" : $"libnvrtc.so.{majors[0]}");
            }
            foreach (int major in majors)
            {
                string mark = windows ? $"nvrtc64_{major}" : $"libnvrtc.so.{major}";
                foreach (string file in files.Where(f => Path.GetFileName(f).StartsWith(mark, StringComparison.Ordinal)).Order())
                {
                    yield return file;
                }
            }
        }
    }

    static IEnumerable<string> Folders(bool windows)
    {
        foreach (string variable in new[] { "CUDA_PATH", "CUDA_HOME" })
        {
            if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } toolkit)
            {
                yield return Path.Combine(toolkit, windows ? "bin" : "lib64");
                yield return Path.Combine(toolkit, windows ? "bin/x64" : "lib");
            }
        }
        if (!windows)
        {
            yield return "/usr/local/cuda/lib64";
            foreach (string toolkit in Matching("/usr/local", "cuda-*").OrderDescending())
            {
                yield return Path.Combine(toolkit, "lib64");
            }
            yield return "/opt/cuda/lib64";
        }
        foreach (string packages in SitePackages(windows))
        {
            yield return Path.Combine(packages, "nvidia", "cu13", windows ? "bin/x86_64" : "lib");
            yield return Path.Combine(packages, "nvidia", "cuda_nvrtc", windows ? "bin" : "lib");
        }
    }

    static IEnumerable<string> SitePackages(bool windows)
    {
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string?[] prefixes =
        [
            Environment.GetEnvironmentVariable("VIRTUAL_ENV"), Environment.GetEnvironmentVariable("CONDA_PREFIX"),
            Path.Combine(home, ".local"), "/usr/local", "/usr", "/opt/conda", "/opt/venv",
        ];
        foreach (string prefix in prefixes.OfType<string>().Where(p => p.Length > 0))
        {
            if (windows)
            {
                yield return Path.Combine(prefix, "Lib", "site-packages");
                continue;
            }
            foreach (string python in Matching(Path.Combine(prefix, "lib"), "python3*").OrderDescending())
            {
                yield return Path.Combine(python, "site-packages");
                yield return Path.Combine(python, "dist-packages");
            }
        }
    }

    static string[] Matching(string folder, string pattern)
    {
        try
        {
            return Directory.Exists(folder) ? Directory.GetDirectories(folder, pattern) : [];
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            return [];
        }
    }
}
