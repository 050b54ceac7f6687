using KvCuda.Backends.Cpu;
using KvCuda.Backends.Cuda;

namespace KvCuda.Backends;

/// <summary>A device's name to its backend.</summary>
internal static class BackendFactory
{
    /// <param name="device">auto, cpu, cuda, cuda:N, or cuda-host for the kernels executed on the CPU</param>
    /// <param name="threads">members of the CPU team; 0 is one per core</param>
    /// <param name="numerics">what a row's bits may depend on</param>
    /// <exception cref="InvalidRequestException">The name is not a device's.</exception>
    /// <exception cref="DeviceException">The device, its driver or its compiler is not there.</exception>
    public static IBackend Create(string device, int threads, Numerics numerics = Numerics.Fast) => device switch
    {
        "cpu" => Cpu(threads, numerics),
        "auto" => CudaBackend.TryOpen(numerics, out _) ?? Cpu(threads, numerics),
        _ => CudaBackend.Open(device, numerics),
    };

    // AMX keeps 16 bits of an activation; whoever asks for exact arithmetic gets the next best.
    static IBackend Cpu(int threads, Numerics numerics)
    {
        InstructionSet chosen = InstructionSets.Chosen();
        return new CpuBackend(threads, chosen == InstructionSet.Amx && numerics == Numerics.Exact ? InstructionSet.Avx512 : chosen);
    }
}
