using System.Runtime.InteropServices;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Pages of 2 MiB for large memory: the size of the store's slabs. One page fault takes the place of 512, and a stream through keys or
/// quantised weights finds its addresses in the processor's page tables' cache. The system may decline.
/// </summary>
internal static partial class HugePages
{
    public const int Bytes = 2 << 20;

    /// <summary>Smaller memory stays in small pages, which round up less.</summary>
    public const long Worthwhile = 4 * Bytes;

    const int HugePage = 14; // MADV_HUGEPAGE

    /// <summary>Asks for huge pages; what is no whole one at the end keeps small ones.</summary>
    public static void Prefer(nint address, long bytes)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = Advise(address, (nuint)(bytes / Bytes * Bytes), HugePage);
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);
}
