using KvCuda.Gpu;
using KvCuda.Kernels;

namespace KvCuda.Backends.Cuda;

// Which kernels a model needs is found by walking its passes without computing anything: a verb that would launch asks for
// its kernel and goes on, so that all of them compile at the same time, and nobody keeps a list.
internal sealed partial class CudaBackend
{
    // Aligned as device memory is; never read.
    const nint ImaginaryAddress = 1 << 20;

    // A backend without a device: it plans and compiles.
    CudaBackend(KernelLibrary library, GpuContext context, Numerics numerics)
    {
        this.context = context;
        this.library = library;
        stream = null!;
        staging = null!;
        preparesAlways = true;
        Counters = new();
        MakeLaunchers(numerics);
        Name = $"cuda, not there ({context.Device.Architecture})";
    }

    /// <summary>A backend on which passes can be prepared, for a device that need not be there.</summary>
    /// <param name="compiler">compiles its kernels</param>
    /// <param name="numerics">what a row's bits may depend on</param>
    public static CudaBackend ToCompileOnly(KernelCompiler compiler, Numerics numerics)
    {
        GpuContext context = GpuContext.Imaginary(GpuDevice.Imaginary);
        return new(new KernelLibrary(context, compiler), context, numerics);
    }

    /// <summary>The kernels that were asked for so far.</summary>
    public KernelLibrary Library => library;

    public bool BeginPreparing(bool always)
    {
        library.Preparing = always || preparesAlways;
        return library.Preparing;
    }

    public void EndPreparing()
    {
        library.Preparing = false;
        using GpuContext.Scope scope = Begin();
        library.Complete();
    }
}
