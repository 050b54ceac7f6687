namespace KvCuda.Interop;

/// <summary>What the driver's results usually mean to someone who runs KvCuda.</summary>
internal static class CudaResults
{
    public const int OutOfMemory = 2;
    public const int NoDevice = 100;

    /// <summary>A sentence for the results that have a usual cause, else null.</summary>
    public static string? Meaning(int result) => result switch
    {
        1 => "an argument is out of range; for a launch, too many threads or too much shared memory per block.",
        OutOfMemory => "the device's memory is full; give the engine a smaller key/value budget or free the device.",
        3 or 4 => "the driver was not initialised or is shutting down with the process.",
        34 => "the driver is a stub for linking; run where a real driver is installed.",
        46 or 101 => "there is no such device, or it is reserved for another process.",
        NoDevice => "no NVIDIA device is visible; see nvidia-smi and CUDA_VISIBLE_DEVICES.",
        200 or 209 or 218 => "the compiled kernel does not fit this device or driver; empty the kernel cache and try again.",
        201 or 709 => "the context that was handed in is gone, or the thread has none.",
        222 => "the compiler is newer than the driver understands; update the driver or use an older NVRTC.",
        700 or 716 or 717 or 718 => "a kernel touched memory that is not its own; every later call fails until the process ends.",
        701 => "a launch asks for more registers or shared memory than a block may have.",
        702 => "a kernel ran longer than the display's watchdog allows.",
        719 => "a kernel failed; every later call fails until the process ends.",
        720 => "a cooperative launch has more blocks than can be resident at once.",
        802 => "the driver or the fabric manager is still starting; try again.",
        803 or 804 => "the driver's kernel module and libcuda have different versions; reboot or reinstall the driver.",
        >= 900 and <= 908 => "a call was made that must not be part of a captured graph.",
        _ => null,
    };
}
