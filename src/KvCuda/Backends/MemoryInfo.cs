namespace KvCuda.Backends;

/// <summary>The memory in which a backend keeps keys and values: a GPU's own, or the host's.</summary>
/// <param name="Free">bytes that could be allocated now; other programs may take them first</param>
/// <param name="Total">bytes in all, or the limit of the container</param>
/// <param name="OfDevice">it is a device's own; else the host's, where a page costs memory only when it is first written</param>
internal readonly record struct MemoryInfo(long Free, long Total, bool OfDevice = false)
{
    /// <summary>
    /// Bytes that the store takes at most if nobody says how many: of a device nine tenths of what is free (kernels, activations
    /// and captured passes need some too), of the host a quarter of all.
    /// </summary>
    public long KvShare => OfDevice ? Free - Free / 10 : Total / 4;

    /// <summary>The host's memory, as the system (or the container's limit) gives it.</summary>
    public static MemoryInfo OfHost()
    {
        GCMemoryInfo info = GC.GetGCMemoryInfo();
        long total = info.TotalAvailableMemoryBytes;
        return new(Math.Clamp(AvailableOnLinux() ?? total - info.MemoryLoadBytes, 0, total), total);
    }

    // What Linux could give without swapping: free pages and those of files that it can drop.
    static long? AvailableOnLinux()
    {
        try
        {
            foreach (string line in OperatingSystem.IsLinux() ? File.ReadLines("/proc/meminfo") : [])
            {
                if (line.StartsWith("MemAvailable:", StringComparison.Ordinal)
                    && long.TryParse(line.AsSpan(13).Trim().TrimEnd("kB").Trim(), out long kilobytes))
                {
                    return kilobytes * 1024;
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No such file: the caller uses the runtime's own figure.
        }
        return null;
    }
}
