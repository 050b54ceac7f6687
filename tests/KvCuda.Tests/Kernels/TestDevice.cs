using KvCuda.Gpu;
using KvCuda.Interop;
using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

/// <summary>
/// Where kernel tests run: the host runner, or with KVCUDA_TEST_DEVICE=cuda the first GPU. One context and one library
/// serve a test; <see cref="Open"/> skips the test, with the reason, where there is no such device.
/// </summary>
sealed unsafe class TestDevice : IDisposable
{
    readonly List<IDisposable> owned = [];

    TestDevice(CudaLibraries libraries, KernelFiles files)
    {
        Context = GpuContext.Primary(libraries.Driver, GpuDevice.Open(libraries.Driver, 0));
        // Launchers expect their caller to have entered the context; a test is in it from Open to Dispose.
        libraries.Driver.Check(libraries.Driver.cuCtxPushCurrent(Context.Handle));
        Stream = GpuStream.Create(Context);
        KernelCache? cache = KernelCache.Open(Path.Combine(NvrtcMachine.Root, ".tools", "kernels"), out _);
        Library = new(Context, new(libraries.Compiler, Context.Device.Architecture, files, cache));
    }

    public GpuContext Context { get; }

    public GpuStream Stream { get; }

    public KernelLibrary Library { get; }

    /// <summary>True where KVCUDA_TEST_DEVICE names a real device.</summary>
    public static bool IsGpu => Environment.GetEnvironmentVariable("KVCUDA_TEST_DEVICE")?.StartsWith("cuda", StringComparison.Ordinal) == true;

    /// <summary>Opens the device, with other device code than the assembly's if a test brings its own.</summary>
    public static TestDevice Open(KernelFiles? files = null)
    {
        string? path = CudaLibraries.HostRunnerPath();
        Assert.SkipWhen(!IsGpu && path is null, "no host runner on this machine: it needs g++ on x86-64 Linux");
        return new(IsGpu ? CudaLibraries.OfDevice() : CudaLibraries.OfHostRunner(), files ?? Kernels.Value);
    }

    // Another folder's files in place of the assembly's: how bugs are planted (MutationTests).
    static readonly Lazy<KernelFiles> Kernels = new(() => Environment.GetEnvironmentVariable("KVCUDA_TEST_KERNELS") is { Length: > 0 } folder
        ? KernelFiles.From(Directory.GetFiles(folder, "*", SearchOption.AllDirectories)
            .ToDictionary(file => Path.GetRelativePath(folder, file).Replace('\\', '/'), File.ReadAllText))
        : KernelFiles.Embedded);

    /// <summary>Device memory with these values.</summary>
    public DeviceArray<T> Upload<T>(params ReadOnlySpan<T> values) where T : unmanaged
    {
        var array = new DeviceArray<T>(this, values.Length);
        owned.Add(array);
        using GpuContext.Scope scope = Context.Enter();
        fixed (T* source = values)
        {
            Stream.CopyToDevice(array.Address, source, (long)values.Length * sizeof(T));
            Stream.Synchronize();
        }
        return array;
    }

    /// <summary>Device memory filled with NaN (0xFF bytes), so that what a kernel does not write is seen.</summary>
    public DeviceArray<T> Output<T>(int count) where T : unmanaged
    {
        var array = new DeviceArray<T>(this, count);
        owned.Add(array);
        using GpuContext.Scope scope = Context.Enter();
        Stream.Fill(array.Address, 0xFF, (long)count * sizeof(T));
        return array;
    }

    public void Dispose()
    {
        owned.ForEach(o => o.Dispose());
        Library.Dispose();
        Stream.Dispose();
        nint popped;
        _ = Context.Cuda.cuCtxPopCurrent(&popped);
        Context.Dispose();
    }
}

/// <summary>Some numbers on a <see cref="TestDevice"/>, at exactly their size.</summary>
sealed unsafe class DeviceArray<T>(TestDevice device, int count) : IDisposable where T : unmanaged
{
    readonly GpuMemory memory = new(device.Context, (long)count * sizeof(T), "a test's array");

    public nint Address => memory.Address;

    public int Count => count;

    /// <summary>Waits for the stream and reads everything.</summary>
    public T[] Read()
    {
        var values = new T[count];
        using GpuContext.Scope scope = device.Context.Enter();
        fixed (T* destination = values)
        {
            device.Stream.CopyToHost(destination, Address, (long)count * sizeof(T));
            device.Stream.Synchronize();
        }
        return values;
    }

    public void Dispose() => memory.Dispose();
}
