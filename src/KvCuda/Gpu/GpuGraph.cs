using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>Recorded work that is queued again by one call. Arguments are frozen by value as they were when recorded.</summary>
internal sealed unsafe class GpuGraph : IDisposable
{
    readonly GpuContext context;
    readonly nint handle;
    bool disposed;

    GpuGraph(GpuContext context, nint handle)
    {
        this.context = context;
        this.handle = handle;
    }

    /// <summary>Makes a captured graph runnable; the capture itself is given back.</summary>
    internal static GpuGraph Instantiate(GpuContext context, nint captured)
    {
        CudaDriver cuda = context.Cuda;
        nint handle;
        int result = cuda.cuGraphInstantiateWithFlags(&handle, captured, 0);
        _ = cuda.cuGraphDestroy(captured);
        context.Check(result, "cuGraphInstantiateWithFlags(&handle, captured, 0)");
        return new(context, handle);
    }

    /// <summary>Queues all of it.</summary>
    public void Launch(GpuStream stream) => context.Check(context.Cuda.cuGraphLaunch(handle, stream.Handle));

    public void Dispose()
    {
        if (!disposed)
        {
            using GpuContext.Scope scope = context.Enter();
            _ = context.Cuda.cuGraphExecDestroy(handle);
            disposed = true;
        }
    }
}
