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

    /// <summary>The one architecture that has the kernel's instructions ("sm_90a"), or null: every one.</summary>
    public string? Architecture { get; init; }

    /// <summary>True if the kernel is meant for this architecture.</summary>
    public bool AppliesTo(string architecture) => Architecture is null || Architecture == architecture;

    /// <summary>What breaks this budget, in sentences; nothing if the code keeps it.</summary>
    /// <param name="usage">what the assembler says</param>
    /// <param name="architecture">"sm_80" or "sm_90a"</param>
    /// <param name="assembly">the machine code as text, if there is a disassembler</param>
    public IEnumerable<string> Violations(KernelUsage usage, string architecture, string? assembly)
    {
        if (usage.SpillBytes > 0)
        {
            yield return $"spills {usage.SpillBytes} bytes of registers";
        }
        if (usage.Registers > Registers)
        {
            yield return $"uses {usage.Registers} registers; its budget is {Registers}";
        }
        if (usage.SharedBytes > SharedBytes)
        {
            yield return $"uses {usage.SharedBytes} bytes of static shared memory; its budget is {SharedBytes}";
        }
        int most = SharedBytesPerBlock(architecture);
        if (usage.SharedBytes + DynamicSharedBytes > most)
        {
            yield return $"may ask for {usage.SharedBytes + DynamicSharedBytes} bytes of shared memory; a block has {most}";
        }
        foreach (string instruction in Instructions)
        {
            if (assembly?.Contains(instruction, StringComparison.Ordinal) == false)
            {
                yield return $"has no {instruction} instruction";
            }
        }
    }

    /// <summary>The most shared memory of one block (CUDA programming guide, technical specifications per compute capability).</summary>
    public static int SharedBytesPerBlock(string architecture) => architecture.StartsWith("sm_9", StringComparison.Ordinal) ? 227 << 10 : 163 << 10;
}
