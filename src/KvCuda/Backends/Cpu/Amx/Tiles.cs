using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Backends.Cpu.Amx;

/// <summary>
/// AMX: eight tile registers of up to 16 rows x 64 bytes, and their products (Intel SDM vol. 1, ch. 18). This class finds out whether they
/// may be used and holds the code that uses them.
/// </summary>
internal static unsafe partial class Tiles
{
    static readonly Lazy<(TileCode? Code, string Missing)> found = new(Open);

    /// <summary>
    /// True if the processor has AMX-BF16 and AMX-INT8 (Sapphire Rapids and later), this is Linux on x86-64, and the system grants
    /// tiles and executable memory to the process.
    /// </summary>
    public static bool Available => found.Value.Code is not null;

    /// <summary>What keeps tiles from being used on a processor that has them, for people; nothing if nothing does.</summary>
    public static string? Missing => ProcessorHasThem() && !Available ? found.Value.Missing : null;

    /// <exception cref="PlatformNotSupportedException">There are none.</exception>
    public static TileCode Code => found.Value.Code ?? throw new PlatformNotSupportedException($"AMX tiles cannot be used: {found.Value.Missing}.");

    static (TileCode?, string) Open()
    {
        if (!ProcessorHasThem())
        {
            return (null, "the processor has none");
        }
        if (!OperatingSystem.IsLinux())
        {
            return (null, "KvCuda asks for them on Linux only");
        }
        try
        {
            return !MayUseThem() ? (null, "Linux does not grant them to this process (arch_prctl, ARCH_REQ_XCOMP_PERM)")
                : TileCode.Make() is { } code ? (code, "")
                : (null, "the system allows no executable memory (mmap, mprotect)");
        }
        catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException)
        {
            return (null, $"the C library cannot be called: {exception.Message}");
        }
    }

    static bool ProcessorHasThem()
    {
        const int bf16 = 1 << 22, tiles = 1 << 24, int8 = 1 << 25;
        return RuntimeInformation.ProcessArchitecture == Architecture.X64 && X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 7
            && (X86Base.CpuId(7, 0).Edx & (bf16 | tiles | int8)) == (bf16 | tiles | int8);
    }

    // Linux gives the 8 KB of tile registers only to processes that ask for them (Documentation/arch/x86/xstate.rst).
    static bool MayUseThem()
    {
        const int archPrctl = 158, requestState = 0x1023, tileData = 18;
        return SystemCall(archPrctl, requestState, tileData) == 0;
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial nint SystemCall(nint number, nint first, nint second);
}
