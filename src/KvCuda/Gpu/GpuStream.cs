using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>A queue of work on the device: its own, or a handle that the caller handed in and keeps owning.</summary>
internal sealed unsafe class GpuStream : IDisposable
{
    const uint NonBlocking = 1;
    const int ThreadLocalCapture = 1;

    readonly bool owned;
    bool disposed;

    GpuStream(GpuContext context, nint handle, bool owned)
    {
        Context = context;
        Handle = handle;
        this.owned = owned;
    }

    public GpuContext Context { get; }

    /// <summary>The CUstream.</summary>
    public nint Handle { get; }

    CudaDriver Cuda => Context.Cuda;

    /// <summary>A new stream that does not wait for the legacy default stream.</summary>
    public static GpuStream Create(GpuContext context)
    {
        using GpuContext.Scope scope = context.Enter();
        nint handle;
        context.Cuda.Check(context.Cuda.cuStreamCreate(&handle, NonBlocking));
        return new(context, handle, owned: true);
    }

    /// <summary>A stream on which nothing can be queued: whoever launches on it only asks for the kernel.</summary>
    public static GpuStream Nowhere(GpuContext context) => new(context, -1, owned: false);

    /// <summary>Nothing can be queued.</summary>
    public bool IsNowhere => Handle == -1;

    /// <summary>Uses a CUstream that other code made in this context and keeps alive.</summary>
    public static GpuStream External(GpuContext context, nint handle) => new(context, handle, owned: false);

    /// <summary>Waits for everything queued.</summary>
    public void Synchronize()
    {
        using GpuContext.Scope scope = Context.Enter();
        Context.Check(Cuda.cuStreamSynchronize(Handle));
    }

    /// <summary>Queues host to device. The host's bytes must stay until the copy has run, unless they are pageable.</summary>
    public void CopyToDevice(nint destination, void* source, long bytes) =>
        Context.Check(Cuda.cuMemcpyHtoDAsync(destination, source, (nuint)bytes, Handle));

    /// <summary>Queues device to host.</summary>
    public void CopyToHost(void* destination, nint source, long bytes) =>
        Context.Check(Cuda.cuMemcpyDtoHAsync(destination, source, (nuint)bytes, Handle));

    /// <summary>Queues device to device.</summary>
    public void Copy(nint destination, nint source, long bytes) =>
        Context.Check(Cuda.cuMemcpyDtoDAsync(destination, source, (nuint)bytes, Handle));

    /// <summary>Queues a fill with one byte.</summary>
    public void Fill(nint destination, byte value, long bytes) =>
        Context.Check(Cuda.cuMemsetD8Async(destination, value, (nuint)bytes, Handle));

    /// <summary>From here on work is recorded instead of run, until <see cref="EndCapture"/>.</summary>
    public void BeginCapture() => Context.Check(Cuda.cuStreamBeginCapture(Handle, ThreadLocalCapture));

    /// <summary>The graph of the work since <see cref="BeginCapture"/>, with all arguments as they were then.</summary>
    public GpuGraph EndCapture()
    {
        nint graph;
        Context.Check(Cuda.cuStreamEndCapture(Handle, &graph));
        return GpuGraph.Instantiate(Context, graph);
    }

    /// <summary>Leaves a capture that failed. Its remains are dropped; errors are not looked at.</summary>
    public void AbandonCapture()
    {
        nint graph;
        if (Cuda.cuStreamEndCapture(Handle, &graph) == 0 && graph != 0)
        {
            _ = Cuda.cuGraphDestroy(graph);
        }
    }

    /// <summary>Later work on this stream waits for the event.</summary>
    public void Wait(GpuEvent marker) => Context.Check(Cuda.cuStreamWaitEvent(Handle, marker.Handle, 0));

    public void Dispose()
    {
        if (!disposed && owned)
        {
            using GpuContext.Scope scope = Context.Enter();
            _ = Cuda.cuStreamDestroy(Handle);
        }
        disposed = true;
    }
}
