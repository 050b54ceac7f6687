using System.Globalization;
using System.Text.RegularExpressions;

namespace KvCuda.Kernels;

/// <summary>What the assembler says a kernel costs on one architecture.</summary>
/// <param name="Registers">registers per thread</param>
/// <param name="SpillBytes">bytes of registers that live in memory instead: stores and loads, per thread</param>
/// <param name="StackBytes">bytes of local arrays per thread</param>
/// <param name="SharedBytes">bytes of statically declared shared memory per block</param>
internal readonly partial record struct KernelUsage(int Registers, int SpillBytes, int StackBytes, int SharedBytes)
{
    /// <summary>Reads the assembler's verbose log; null if it says nothing about registers.</summary>
    public static KernelUsage? Parse(string log)
    {
        Match used = Used().Match(log);
        if (!used.Success)
        {
            return null;
        }
        Match shared = Shared().Match(used.Value);
        int spills = 0, stack = 0;
        foreach (Match frame in Frame().Matches(log))
        {
            stack = Math.Max(stack, Number(frame.Groups[1]));
            spills += Number(frame.Groups[2]) + Number(frame.Groups[3]);
        }
        return new(Number(used.Groups[1]), spills, stack, shared.Success ? Number(shared.Groups[1]) : 0);
    }

    static int Number(Group group) => int.Parse(group.ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"Used (\d+) registers[^\n]*")]
    private static partial Regex Used();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex Shared();

    [GeneratedRegex(@"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")]
    private static partial Regex Frame();
}
