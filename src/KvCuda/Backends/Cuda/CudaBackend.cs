using System.Globalization;
using System.Runtime.CompilerServices;
using KvCuda.Gpu;
using KvCuda.Interop;
using KvCuda.Kernels;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cuda;

/// <summary>
/// The verbs on an NVIDIA device, or on the host runner in its place: every verb queues one or a few kernels on one stream.
/// Weights are copied to the device once. After a failure of queued work every later call throws that first failure.
/// Used by one thread at a time.
///
/// In class fast, calls of prompt size use other products than decode steps, so a decode row that shares a call with a
/// long prompt may differ in its last bits.
/// </summary>
internal sealed unsafe partial class CudaBackend : CudaVerbs, IBackend, IRecorder, IHostTier
{
    const int StagingHalfBytes = 4 << 20;

    readonly GpuContext context;
    readonly Numerics numerics;
    readonly StagingRing staging;
    readonly Dictionary<nint, GpuMemory> allocations = [];
    readonly Dictionary<nint, Tensor> weights = []; // by the host's address: tied weights are one copy
    readonly bool plansAlways;
    GpuMemory? scratch;
    bool disposed;

    /// <param name="libraries">driver and compiler</param>
    /// <param name="context">disposed with the backend</param>
    /// <param name="stream">disposed with the backend</param>
    /// <param name="files">the device code</param>
    /// <param name="numerics">what may depend on a call's size</param>
    public CudaBackend(CudaLibraries libraries, GpuContext context, GpuStream stream, KernelFiles files, Numerics numerics)
        : base(NewLibrary(libraries, context, files), stream, numerics)
    {
        this.context = context;
        this.numerics = numerics;
        staging = new(stream, StagingHalfBytes);
        // Under the host runner a kernel takes g++ a while, and tests use few of those that an engine may need.
        plansAlways = !libraries.Driver.IsHostRunner;
        Counters = new() { Launches = Launches };
        Name = $"{(libraries.Driver.IsHostRunner ? "cuda-host" : $"cuda:{context.Device.Handle}")} ({context.Device.Name}, " +
            $"NVRTC {libraries.Compiler.Version})";
    }

    static KernelLibrary NewLibrary(CudaLibraries libraries, GpuContext context, KernelFiles files)
    {
        KernelCache? cache = KernelCache.Open(KernelCache.DefaultDirectory(), out _);
        return new(context, new(libraries.Compiler, context.Device.Architecture, files, cache));
    }

    public string Name { get; }

    public string Arithmetic => $"{(plansAlways ? "cuda" : "cuda-host")} {context.Device.Architecture}";

    public int KernelRevision => Backends.KernelRevision.Cuda;

    public override bool Takes(WeightFormat format) => format.IsStored;

    public IHostTier? HostTier => this;

    public IFamilyVerbs? FamilyVerbs => null;

    public IRecorder? Recorder => this;

    public IPlanningBackend? Planner(bool always) => always || plansAlways ? new PlanningBackend(library, numerics) : null;

    public void WarmUp(WeightFormat weights, DType kv) { }

    /// <summary>The stream that every verb is queued on.</summary>
    public GpuStream Stream => stream;

    // Launches per kernel so far, most frequent first.
    IEnumerable<(string Name, long Count)> Launches() => library.Kernels.Where(kernel => kernel.Launches > 0)
        .GroupBy(kernel => kernel.Source.Entry).Select(group => ("kernel " + group.Key, group.Sum(kernel => kernel.Launches)))
        .OrderByDescending(entry => entry.Item2).ThenBy(entry => entry.Item1, StringComparer.Ordinal);

    /// <summary>Opens the first device, if driver, compiler and a device are there; else says in one line what is missing.</summary>
    public static CudaBackend? TryOpen(Numerics numerics, out string whyNot)
    {
        whyNot = "";
        try
        {
            return Open("cuda", numerics);
        }
        catch (DeviceException e)
        {
            whyNot = e.Message.Split('\n')[0];
            return null;
        }
    }

    /// <summary>Opens what `--device` names: "cuda", "cuda:1"; "cuda-host" (kernels on the CPU, checked) or "cuda-host:plain".</summary>
    /// <exception cref="DeviceException">Driver, compiler or device are not there; the message says what was tried.</exception>
    public static CudaBackend Open(string device, Numerics numerics)
    {
        int ordinal = 0;
        if (device is not ("cuda" or "cuda-host" or "cuda-host:plain") && !(device.StartsWith("cuda:", StringComparison.Ordinal) &&
            int.TryParse(device.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out ordinal)))
        {
            throw new InvalidRequestException($"Unknown device '{device}'; known are auto, cpu, cuda, cuda:N and cuda-host.");
        }
        CudaLibraries libraries = device switch
        {
            "cuda-host" => CudaLibraries.OfHostRunner(),
            "cuda-host:plain" => CudaLibraries.OfHostRunner(plain: true),
            _ => CudaLibraries.OfDevice(),
        };
        GpuDevice gpu = GpuDevice.Open(libraries.Driver, ordinal);
        if (gpu.Compute.Major < 8)
        {
            throw new DeviceException($"{gpu} is too old: KvCuda's kernels need compute capability 8.0 or later.");
        }
        GpuContext context = GpuContext.Primary(libraries.Driver, gpu);
        return new(libraries, context, GpuStream.Create(context), KernelFiles.Embedded, numerics);
    }

    /// <summary>Works in a context and on a stream that other code made (CUcontext, CUstream) and keeps alive.</summary>
    public static CudaBackend Attach(nint contextHandle, nint streamHandle, Numerics numerics)
    {
        CudaLibraries libraries = CudaLibraries.OfDevice();
        GpuContext context = GpuContext.External(libraries.Driver, contextHandle);
        return new(libraries, context, GpuStream.External(context, streamHandle), KernelFiles.Embedded, numerics);
    }

    // --- memory ---

    public MemoryInfo Memory
    {
        get
        {
            (long free, long total) = context.Memory();
            return new(free, total, OfDevice: true);
        }
    }

    public Tensor Allocate(string name, DType type, int rows, int columns) =>
        new(name, type, AllocateBytes(name, (long)rows * columns * type.Bytes()), rows, columns);

    public Tensor Allocate(string name, WeightFormat format, int rows, int columns) =>
        new(name, format, AllocateBytes(name, format.Bytes(rows, columns)), rows, columns);

    public nint AllocateBytes(string name, long bytes)
    {
        using GpuContext.Scope scope = Begin();
        var memory = new GpuMemory(context, bytes, name);
        allocations.Add(memory.Address, memory);
        stream.Fill(memory.Address, 0, bytes);
        return memory.Address;
    }

    public void Free(nint address)
    {
        if (allocations.Remove(address, out GpuMemory? memory))
        {
            // A graph may hold the address. Queued verbs may use it too: the driver waits for them before it gives it back.
            DisposeGraphs();
            memory.Dispose();
        }
    }

    public Tensor Load(in Tensor hostWeight)
    {
        if (hostWeight.IsNone)
        {
            return hostWeight;
        }
        if (!weights.TryGetValue(hostWeight.Address, out Tensor known))
        {
            known = Allocate(hostWeight.Name, hostWeight.Format, hostWeight.Rows, hostWeight.Columns);
            using GpuContext.Scope scope = Begin();
            // A span counts in i32; a large vocabulary's table has more bytes.
            for (long at = 0; at < hostWeight.Bytes; at += StagingHalfBytes)
            {
                int count = (int)Math.Min(StagingHalfBytes, hostWeight.Bytes - at);
                staging.Write(known.Address + (nint)at, new((void*)(hostWeight.Address + (nint)at), count));
            }
            weights.Add(hostWeight.Address, known);
        }
        return known;
    }

    public void Write(in Tensor destination, ReadOnlySpan<byte> source)
    {
        ExpectBytes(destination, source.Length);
        using GpuContext.Scope scope = Begin();
        staging.Write(destination.Address, source);
    }

    public void Read(Span<byte> destination, in Tensor source)
    {
        ExpectBytes(source, destination.Length);
        using GpuContext.Scope scope = Begin();
        staging.Read(destination, source.Address);
    }

    public void CopyBytes(nint destination, nint source, long bytes)
    {
        using GpuContext.Scope scope = Begin();
        stream.Copy(destination, source, bytes);
    }

    public void Synchronize()
    {
        using GpuContext.Scope scope = Begin();
        stream.Synchronize();
        copies?.Synchronize();
    }

    public void Dispose()
    {
        if (disposed)
        {
            return;
        }
        disposed = true;
        // Nothing may be freed under work that still runs. After a failure there is nothing to wait for.
        if (context.Lost is null)
        {
            using GpuContext.Scope scope = context.Enter();
            _ = context.Cuda.cuStreamSynchronize(stream.Handle);
            _ = copies is null ? 0 : context.Cuda.cuStreamSynchronize(copies.Handle);
        }
        DisposeGraphs();
        DisposeHostTier();
        staging.Dispose();
        scratch?.Dispose();
        foreach (GpuMemory memory in allocations.Values)
        {
            memory.Dispose();
        }
        library.Dispose();
        stream.Dispose();
        context.Dispose();
    }

    // It grows before a pass is captured, never within one.
    protected override nint Scratch(long bytes)
    {
        if (scratch is null || scratch.Bytes < bytes)
        {
            if (recording is not null)
            {
                throw new InvalidOperationException("A recorded pass needs more scratch than the pass before it, which had the same key.");
            }
            DisposeGraphs();
            stream.Synchronize();
            scratch?.Dispose();
            scratch = null;
            scratch = new(context, bytes, "attention's partial results");
        }
        return scratch.Address;
    }

    protected override GpuContext.Scope Begin()
    {
        if (context.Lost is not null || disposed)
        {
            ThrowUnusable();
        }
        joined = false;
        return context.Enter();
    }

    void ThrowUnusable()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        throw new DeviceException($"{Name} failed earlier and does not go on; open a new engine. The failure: {context.Lost!.Message}", context.Lost);
    }

    static void ExpectBytes(in Tensor tensor, int bytes, [CallerMemberName] string verb = "")
    {
        if (tensor.Bytes != bytes)
        {
            throw new ArgumentException($"{verb}: {tensor} has {tensor.Bytes} bytes, but {bytes} were given.");
        }
    }
}
