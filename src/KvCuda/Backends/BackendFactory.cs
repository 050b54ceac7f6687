using KvCuda.Backends.Cpu;

namespace KvCuda.Backends;

/// <summary>A device's name to its backend.</summary>
internal static class BackendFactory
{
    /// <param name="device">auto or cpu</param>
    /// <param name="threads">members of the CPU team; 0 is one per core</param>
    /// <exception cref="InvalidRequestException">The name is not a device's.</exception>
    public static IBackend Create(string device, int threads) => device switch
    {
        "auto" or "cpu" => new CpuBackend(threads),
        _ => throw new InvalidRequestException($"Unknown device '{device}'; known are auto and cpu."),
    };
}
