using System.Runtime.InteropServices;

namespace KvCuda.Interop;

/// <summary>A loaded native library and where it came from.</summary>
internal abstract unsafe class NativeFunctions
{
    readonly delegate* unmanaged<byte*> lastError;

    private protected NativeFunctions(nint library, string path)
    {
        Handle = library;
        Path = path;
        // Only a stand-in has words of its own for what went wrong.
        NativeLibrary.TryGetExport(library, "kvcuda_host_last_error", out nint address);
        lastError = (delegate* unmanaged<byte*>)address;
    }

    /// <summary>The handle that the loader gave.</summary>
    public nint Handle { get; }

    /// <summary>The name or path that was loaded.</summary>
    public string Path { get; }

    /// <summary>True for the host runner, which executes kernels on the CPU behind the driver's function names.</summary>
    public bool IsHostRunner => lastError != null;

    /// <summary>What a stand-in says about the last failure; empty for a real driver.</summary>
    protected string LastError() => lastError == null ? "" : Marshal.PtrToStringUTF8((nint)lastError()) ?? "";

    /// <summary>The address of a function that must be there.</summary>
    protected nint Export(string name) => NativeLibrary.TryGetExport(Handle, name, out nint address)
        ? address
        : throw new DeviceException($"{Path} has no function {name}: KvCuda needs a driver and NVRTC of CUDA 12 or later.");
}
