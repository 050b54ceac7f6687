using System.Runtime.InteropServices;

namespace KvCuda.Backends.Cpu.Amx;

/// <summary>Code made at run time, in memory that is never writable and executable at once.</summary>
internal static unsafe partial class ExecutableMemory
{
    const int Read = 1, Write = 2, Execute = 4; // PROT_*
    const int PrivateAnonymous = 0x22;          // MAP_PRIVATE | MAP_ANONYMOUS

    /// <summary>The address of a copy of the code that stays as long as the process; 0 if the system allows none.</summary>
    public static nint Place(ReadOnlySpan<byte> code)
    {
        nuint bytes = (nuint)((code.Length + Environment.SystemPageSize - 1) / Environment.SystemPageSize * Environment.SystemPageSize);
        nint memory = Map(0, bytes, Read | Write, PrivateAnonymous, -1, 0);
        if (memory == -1)
        {
            return 0;
        }
        code.CopyTo(new Span<byte>((void*)memory, code.Length));
        if (Protect(memory, bytes, Read | Execute) == 0)
        {
            return memory;
        }
        _ = Unmap(memory, bytes);
        return 0;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint bytes, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(nint address, nuint bytes, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nuint bytes);
}
