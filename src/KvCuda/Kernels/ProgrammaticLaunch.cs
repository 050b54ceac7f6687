namespace KvCuda.Kernels;

/// <summary>
/// Whether kernels that wait for what they read (grid_dependency_wait of kernels/shared/ptx.cuh) may begin before the kernel in
/// front of them has ended: their weights are then on the way when it does. Off until a GPU has measured what it gains;
/// KVCUDA_PDL=1 switches it on. No bits depend on it.
/// </summary>
internal static class ProgrammaticLaunch
{
    public static bool Enabled { get; set; } = Environment.GetEnvironmentVariable("KVCUDA_PDL") == "1";

    /// <summary>Compute capability 9.0 is the first that knows it.</summary>
    public static bool On(KernelLibrary library) => Enabled && library.Context.Device.Compute.Major >= 9;
}
