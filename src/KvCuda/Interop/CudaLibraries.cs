namespace KvCuda.Interop;

/// <summary>A driver and a compiler that belong together: NVIDIA's, or the host runner in place of both.</summary>
internal sealed record CudaLibraries(CudaDriver Driver, Nvrtc Compiler)
{
    /// <summary>NVIDIA's driver, initialised, and NVRTC.</summary>
    /// <exception cref="DeviceException">One of them is not there or does not start; the message says what was tried.</exception>
    public static CudaLibraries OfDevice()
    {
        NativeProbe driver = NativeProbe.Driver();
        if (driver.Path is null)
        {
            throw driver.NotFound("It comes with NVIDIA's driver; `kvcuda doctor` tells more.");
        }
        var cuda = new CudaDriver(driver.Handle, driver.Path);
        cuda.Initialise();
        NativeProbe compiler = NativeProbe.Nvrtc(cuda.Version());
        return compiler.Path is null
            ? throw compiler.NotFound("Install cuda-nvrtc of the CUDA toolkit, or set KVCUDA_NVRTC; `kvcuda doctor` tells more.")
            : new(cuda, new(compiler.Handle, compiler.Path));
    }

    /// <summary>The library that executes kernels on the CPU: one file with the driver's and the compiler's functions.</summary>
    /// <param name="plain">the flavour that only runs, several times faster than the one that checks every access</param>
    public static CudaLibraries OfHostRunner(bool plain = false)
    {
        string path = HostRunnerPath(plain) ?? throw new DeviceException(
            "The host runner was not found: it is built by `./build.sh test` of KvCuda's repository, or named by KVCUDA_HOST_RUNNER.");
        NativeProbe probe = NativeProbe.Library("The host runner", path);
        if (probe.Path is null)
        {
            throw probe.NotFound("Build it again with `./build.sh test`, or name another one with KVCUDA_HOST_RUNNER.");
        }
        var cuda = new CudaDriver(probe.Handle, probe.Path);
        cuda.Initialise();
        return new(cuda, new(probe.Handle, probe.Path));
    }

    /// <summary>KVCUDA_HOST_RUNNER, or the one that the repository around this program has built; null if neither is there.</summary>
    public static string? HostRunnerPath(bool plain = false)
    {
        string file = plain ? "libkvcuda-host-plain.so" : "libkvcuda-host.so";
        if (Environment.GetEnvironmentVariable("KVCUDA_HOST_RUNNER") is { Length: > 0 } named)
        {
            return plain ? Path.Combine(Path.GetDirectoryName(named) ?? "", file) : named;
        }
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            string built = Path.Combine(folder, "artifacts", "host-runner", file);
            if (File.Exists(built) && File.Exists(Path.Combine(folder, "KvCuda.sln")))
            {
                return built;
            }
        }
        return null;
    }
}
