using System.Runtime.InteropServices;

namespace KvCuda.Weights;

/// <summary>What the system is told about the memory of mapped files.</summary>
static partial class MappedPages
{
    const int DontNeed = 4; // MADV_DONTNEED

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

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);
}
