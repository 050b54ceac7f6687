namespace KvCuda.Kernels;

/// <summary>
/// What a kernel may cost, written beside its launcher and checked for every architecture without a GPU. Spills are
/// never allowed.
/// </summary>
/// <param name="Registers">at most so many registers per thread</param>
/// <param name="SharedBytes">at most so many bytes of statically declared shared memory per block</param>
/// <param name="DynamicSharedBytes">a launch may ask for at most so many bytes on top</param>
internal readonly record struct KernelBudget(int Registers, int SharedBytes = 0, int DynamicSharedBytes = 0)
{
    /// <summary>Machine instructions that the code must contain, as the disassembler prints them: "HMMA", "LDGSTS".</summary>
    public IReadOnlyList<string> Instructions { get; init; } = [];
}
