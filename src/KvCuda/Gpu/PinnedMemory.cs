using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>Host memory that the device copies from and to without a stop in between.</summary>
internal sealed unsafe class PinnedMemory : IDisposable
{
    readonly GpuContext context;
    bool disposed;

    /// <exception cref="DeviceException">So much cannot be pinned.</exception>
    public PinnedMemory(GpuContext context, long bytes)
    {
        this.context = context;
        Bytes = bytes;
        using GpuContext.Scope scope = context.Enter();
        nint address;
        context.Cuda.Check(context.Cuda.cuMemHostAlloc(&address, (nuint)bytes, 0), $"cuMemHostAlloc({bytes})");
        Pointer = (byte*)address;
    }

    public byte* Pointer { get; }

    public long Bytes { get; }

    public void Dispose()
    {
        if (!disposed)
        {
            using GpuContext.Scope scope = context.Enter();
            _ = context.Cuda.cuMemFreeHost((nint)Pointer);
            disposed = true;
        }
    }
}
