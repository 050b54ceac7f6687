using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>A block of device memory. Disposal waits for what the driver must wait for.</summary>
internal sealed unsafe class GpuMemory : IDisposable
{
    readonly GpuContext context;
    bool disposed;

    /// <summary>Allocates at least one byte; the driver aligns it to 256.</summary>
    /// <exception cref="DeviceException">The device has not so much memory left; the message says how much it has.</exception>
    public GpuMemory(GpuContext context, long bytes, string name)
    {
        this.context = context;
        Bytes = bytes;
        using GpuContext.Scope scope = context.Enter();
        CudaDriver cuda = context.Cuda;
        nint address;
        int result = cuda.cuMemAlloc(&address, (nuint)Math.Max(bytes, 1));
        if (result == CudaResults.OutOfMemory)
        {
            (long free, long total) = context.Memory();
            throw new DeviceException($"{bytes >> 20} MiB of device memory for {name} do not fit: {context.Device.Name} has " +
                $"{free >> 20} MiB free of {total >> 20} MiB. Give the engine a smaller key/value budget or free the device.");
        }
        cuda.Check(result, $"cuMemAlloc({bytes}) for {name}");
        Address = address;
    }

    /// <summary>The device's address of the first byte.</summary>
    public nint Address { get; }

    public long Bytes { get; }

    public void Dispose()
    {
        if (!disposed)
        {
            using GpuContext.Scope scope = context.Enter();
            _ = context.Cuda.cuMemFree(Address);
            disposed = true;
        }
    }
}
