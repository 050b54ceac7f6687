using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>A marker in a stream: something to wait for, or one end of a measured time.</summary>
internal sealed unsafe class GpuEvent : IDisposable
{
    const uint DisableTiming = 2;

    readonly GpuContext context;
    bool disposed;

    public GpuEvent(GpuContext context, bool timing = false)
    {
        this.context = context;
        using GpuContext.Scope scope = context.Enter();
        nint handle;
        context.Cuda.Check(context.Cuda.cuEventCreate(&handle, timing ? 0 : DisableTiming));
        Handle = handle;
    }

    /// <summary>The CUevent.</summary>
    public nint Handle { get; }

    CudaDriver Cuda => context.Cuda;

    /// <summary>Marks the end of what the stream holds now.</summary>
    public void Record(GpuStream stream) => context.Check(Cuda.cuEventRecord(Handle, stream.Handle));

    /// <summary>Waits until the mark is reached.</summary>
    public void Synchronize() => context.Check(Cuda.cuEventSynchronize(Handle));

    /// <summary>Microseconds between two reached marks that were made with timing.</summary>
    public double MicrosecondsSince(GpuEvent start)
    {
        float milliseconds;
        context.Check(Cuda.cuEventElapsedTime(&milliseconds, start.Handle, Handle));
        return milliseconds * 1e3;
    }

    public void Dispose()
    {
        if (!disposed)
        {
            using GpuContext.Scope scope = context.Enter();
            _ = Cuda.cuEventDestroy(Handle);
            disposed = true;
        }
    }
}
