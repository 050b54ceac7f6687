using System.Runtime.InteropServices;

namespace KvCuda.Weights;

/// <summary>What the system is told about the memory of mapped files.</summary>
static partial class MappedPages
{
    const int DontNeed = 4, PopulateRead = 22; // MADV_DONTNEED, MADV_POPULATE_READ

    // Between two of these it is looked whether somebody waits for the end.
    const long FetchBytes = 16 << 20;

    /// <summary>
    /// The pages that lie wholly inside need not stay in memory: they are read from the file again if somebody looks. Only for mapped
    /// files: other memory would lose what it holds.
    /// </summary>
    public static void LetGo(nint address, long bytes)
    {
        if (!OperatingSystem.IsLinux())
        {
            return; // elsewhere they leave when memory gets scarce
        }
        long page = Environment.SystemPageSize, first = (address + page - 1) / page * page, end = (address + bytes) / page * page;
        if (end > first)
        {
            _ = Advise((nint)first, (nuint)(end - first), DontNeed);
        }
    }

    /// <summary>
    /// Reads a part of a file into memory and into the process's page table, as looking at it would, but by few calls instead of a
    /// fault for every 16 pages (or so). Returns when all is there, or when the system cannot (Linux before 5.14).
    /// </summary>
    public static void Fetch(nint address, long bytes, Func<bool> enough)
    {
        if (!OperatingSystem.IsLinux())
        {
            return; // pages come when they are looked at
        }
        long page = Environment.SystemPageSize, end = address + bytes;
        for (long from = address / page * page; from < end && !enough(); from += FetchBytes)
        {
            if (Advise((nint)from, (nuint)Math.Min(FetchBytes, end - from), PopulateRead) != 0)
            {
                return;
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);
}
