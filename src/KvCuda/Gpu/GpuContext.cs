using System.Runtime.CompilerServices;
using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>
/// One device's context: its own (the primary context of the device, retained), or a handle that the caller handed in and
/// keeps owning. Everything made from it must be disposed before it.
/// </summary>
internal sealed unsafe class GpuContext : IDisposable
{
    [ThreadStatic] static GpuContext? entered;

    readonly bool owned;
    bool disposed;

    GpuContext(CudaDriver cuda, GpuDevice device, nint handle, bool owned)
    {
        Cuda = cuda;
        Device = device;
        Handle = handle;
        this.owned = owned;
    }

    public CudaDriver Cuda { get; }

    public GpuDevice Device { get; }

    /// <summary>The CUcontext.</summary>
    public nint Handle { get; }

    /// <summary>The context of a device that is not there: kernels are planned and compiled for it, and nothing else.</summary>
    public static GpuContext Imaginary(GpuDevice device) => new(null!, device, 0, owned: false);

    /// <summary>There is no device behind it.</summary>
    public bool IsImaginary => Handle == 0;

    /// <summary>Retains the primary context of a device.</summary>
    public static GpuContext Primary(CudaDriver cuda, GpuDevice device)
    {
        nint handle;
        cuda.Check(cuda.cuDevicePrimaryCtxRetain(&handle, device.Handle));
        return new(cuda, device, handle, owned: true);
    }

    /// <summary>Uses a CUcontext that other code made and keeps alive.</summary>
    public static GpuContext External(CudaDriver cuda, nint handle)
    {
        cuda.Check(cuda.cuCtxPushCurrent(handle));
        int device;
        int result = cuda.cuCtxGetDevice(&device);
        nint popped;
        cuda.Check(cuda.cuCtxPopCurrent(&popped));
        cuda.Check(result, "cuCtxGetDevice(&device)");
        return new(cuda, GpuDevice.FromHandle(cuda, device), handle, owned: false);
    }

    /// <summary>
    /// Makes this the calling thread's context until the scope is disposed, and then restores what was there, so that
    /// other CUDA code on the same thread is not disturbed. Scopes nest at no cost.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Scope Enter()
    {
        if (entered == this || IsImaginary)
        {
            return default;
        }
        Cuda.Check(Cuda.cuCtxPushCurrent(Handle));
        GpuContext? outer = entered;
        entered = this;
        return new(this, outer);
    }

    /// <summary>
    /// The first failure of queued work. What the device computes after it means nothing, so whoever sees it set stops.
    /// </summary>
    public DeviceException? Lost { get; private set; }

    /// <summary>Throws unless a call that queues or awaits work succeeded, and remembers the first failure.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Check(int result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result != 0)
        {
            throw Fail(result, call);
        }
    }

    /// <summary>Remembers a failure of queued work.</summary>
    public DeviceException Fail(int result, string call)
    {
        DeviceException failure = Cuda.Failure(result, call);
        Lost ??= failure;
        return failure;
    }

    /// <summary>Bytes of device memory that are free now, and in all.</summary>
    public (long Free, long Total) Memory()
    {
        using Scope scope = Enter();
        nuint free, total;
        Cuda.Check(Cuda.cuMemGetInfo(&free, &total));
        return ((long)free, (long)total);
    }

    public void Dispose()
    {
        if (!disposed && owned)
        {
            // The result is not looked at: after a failed kernel every call fails, and disposal must go on.
            _ = Cuda.cuDevicePrimaryCtxRelease(Device.Handle);
        }
        disposed = true;
    }

    /// <summary>The time during which a context is the thread's current one.</summary>
    public readonly ref struct Scope
    {
        readonly GpuContext? context;
        readonly GpuContext? outer;

        internal Scope(GpuContext context, GpuContext? outer)
        {
            this.context = context;
            this.outer = outer;
        }

        public void Dispose()
        {
            if (context is not null)
            {
                nint popped;
                _ = context.Cuda.cuCtxPopCurrent(&popped);
                entered = outer;
            }
        }
    }
}
