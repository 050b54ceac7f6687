using KvCuda.Gpu;
using KvCuda.Kernels;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cuda;

/// <summary>
/// Which kernels a model needs, found by walking its passes without computing anything: a verb that would launch asks for
/// its kernel, which starts to compile, and goes on. So all of them compile at the same time, and nobody keeps a list.
/// </summary>
internal sealed class PlanningBackend : CudaVerbs, IPlanningBackend, IRecorder
{
    // Aligned as device memory is; never read.
    const nint Nowhere = 1 << 20;

    readonly bool ownsLibrary;

    /// <summary>Plans for a library that others launch from.</summary>
    public PlanningBackend(KernelLibrary library, Numerics numerics) : this(library, numerics, ownsLibrary: false) { }

    PlanningBackend(KernelLibrary library, Numerics numerics, bool ownsLibrary)
        : base(library, GpuStream.Nowhere(library.Context), numerics) => this.ownsLibrary = ownsLibrary;

    /// <summary>Plans for a device that need not be there; <see cref="Complete"/> then only compiles.</summary>
    /// <param name="compiler">compiles the kernels</param>
    /// <param name="numerics">what a row's bits may depend on</param>
    public static PlanningBackend ToCompileOnly(KernelCompiler compiler, Numerics numerics) =>
        new(new KernelLibrary(GpuContext.Imaginary(GpuDevice.Imaginary), compiler), numerics, ownsLibrary: true);

    public string Arithmetic => "none";

    public int KernelRevision => Backends.KernelRevision.Cuda;

    public string Name => $"cuda, planning only ({library.Context.Device.Architecture})";

    public override bool Takes(WeightFormat format) => format.IsStored;

    public IHostTier? HostTier => null;

    public IFamilyVerbs? FamilyVerbs => null;

    public IRecorder? Recorder => this;

    public MemoryInfo Memory => default;

    public IPlanningBackend? Planner(bool always) => this;

    public void WarmUp(WeightFormat weights, DType kv) { }

    public void Complete()
    {
        using GpuContext.Scope scope = library.Context.Enter();
        library.Complete();
    }

    public Tensor Allocate(string name, DType type, int rows, int columns) => new(name, type, Nowhere, rows, columns);

    public Tensor Allocate(string name, WeightFormat format, int rows, int columns) => new(name, format, Nowhere, rows, columns);

    public nint AllocateBytes(string name, long bytes) => Nowhere;

    public void Free(nint address) { }

    public Tensor Load(in Tensor hostWeight) => hostWeight;

    public void Write(in Tensor destination, ReadOnlySpan<byte> source) { }

    public void Read(Span<byte> destination, in Tensor source) { }

    public void CopyBytes(nint destination, nint source, long bytes) { }

    public void Synchronize() { }

    public bool Replay(int key) => false;

    public void BeginRecording(int key) { }

    public void EndRecording() { }

    public void Dispose()
    {
        if (ownsLibrary)
        {
            library.Dispose();
        }
    }

    protected override GpuContext.Scope Begin() => default;

    protected override nint Scratch(long bytes) => Nowhere;
}
