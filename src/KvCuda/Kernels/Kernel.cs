using System.Diagnostics.CodeAnalysis;
using KvCuda.Gpu;
using KvCuda.Interop;

namespace KvCuda.Kernels;

/// <summary>
/// One compiled function with one argument struct. The first launch waits for everything that still compiles
/// (<see cref="KernelLibrary.Complete"/>); after that launching allocates nothing.
/// </summary>
internal abstract class Kernel
{
    private protected Kernel(KernelLibrary library, KernelSource source, int dynamicSharedBytes)
    {
        Library = library;
        Source = source;
        DynamicSharedBytes = dynamicSharedBytes;
    }

    /// <summary>What was compiled.</summary>
    public KernelSource Source { get; }

    private protected KernelLibrary Library { get; }

    /// <summary>A launch may ask for at most so many bytes of dynamic shared memory.</summary>
    public int DynamicSharedBytes { get; }

    /// <summary>How often it ran, as far as the host knows. Replayed graphs add what they hold.</summary>
    public long Launches { get; set; }

    /// <summary>The function on the device, once loaded.</summary>
    public GpuFunction Function { get; internal set; } = null!;

    private protected bool IsLoaded => Function is not null;

    [DoesNotReturn]
    private protected void ThrowTooMuchShared(in Grid grid) => throw new ArgumentException(
        $"{Source}: a launch of {grid} was asked for, but the kernel was loaded for at most {DynamicSharedBytes} dynamic shared bytes.");
}

/// <inheritdoc cref="Kernel"/>
internal sealed unsafe class Kernel<[System.Diagnostics.CodeAnalysis.DynamicallyAccessedMembers(ArgsContract.Fields)] TArgs>
    : Kernel where TArgs : unmanaged
{
    internal Kernel(KernelLibrary library, KernelSource<TArgs> source, int dynamicSharedBytes) : base(library, source, dynamicSharedBytes) { }

    /// <summary>Queues the kernel on the stream.</summary>
    /// <param name="stream">the stream, or a capture of it</param>
    /// <param name="grid">blocks, threads, dynamic shared memory</param>
    /// <param name="args">copied at once; the caller may change it afterwards</param>
    public void Launch(GpuStream stream, in Grid grid, in TArgs args)
    {
        if (stream.IsNowhere)
        {
            return;
        }
        if (!IsLoaded)
        {
            Library.Complete();
        }
        if (grid.SharedBytes > DynamicSharedBytes)
        {
            ThrowTooMuchShared(grid);
        }
        LaunchAttribute* attributes = stackalloc LaunchAttribute[3];
        uint count = 0;
        if (grid.Cooperative)
        {
            attributes[count++] = new() { Id = LaunchAttributeId.Cooperative, X = 1 };
        }
        if (grid.Cluster > 0)
        {
            attributes[count++] = new() { Id = LaunchAttributeId.ClusterDimension, X = grid.Cluster, Y = 1, Z = 1 };
        }
        if (grid.Programmatic)
        {
            attributes[count++] = new() { Id = LaunchAttributeId.ProgrammaticStreamSerialization, X = 1 };
        }
        var config = new LaunchConfig
        {
            GridX = (uint)grid.X,
            GridY = (uint)grid.Y,
            GridZ = (uint)grid.Z,
            BlockX = (uint)grid.Threads,
            BlockY = 1,
            BlockZ = 1,
            SharedBytes = (uint)grid.SharedBytes,
            Stream = stream.Handle,
            Attributes = attributes,
            AttributeCount = count,
        };
        TArgs copy = args; // The driver reads it before the call returns.
        void* parameter = &copy;
        CudaDriver cuda = stream.Context.Cuda;
        int result = cuda.cuLaunchKernelEx(&config, Function.Handle, &parameter, null);
        if (result != 0)
        {
            throw stream.Context.Fail(result, $"{Source}: cuLaunchKernelEx with {grid}");
        }
        Launches++;
    }
}
