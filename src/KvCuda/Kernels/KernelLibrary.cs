using KvCuda.Gpu;

namespace KvCuda.Kernels;

/// <summary>
/// The kernels of one device. <see cref="Load"/> hands out a kernel at once and queues its compilation;
/// <see cref="Complete"/> waits until every one of them is on the device, so that many compile at the same time.
/// </summary>
internal sealed class KernelLibrary : IDisposable
{
    public void Dispose() { }

    public void Complete() { }

    public Kernel<TArgs> Load<TArgs>(KernelSource<TArgs> source, int dynamicSharedBytes = 0) where TArgs : unmanaged =>
        new(source, dynamicSharedBytes);
}
