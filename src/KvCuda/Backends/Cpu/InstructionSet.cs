using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KvCuda.Backends.Cpu.Amx;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Which vector instructions the kernels are made of. AVX-512, AVX2 and portable vectors give the same bits, and so does AMX but for
/// products with bf16 weights, which have an order of sums of their own there.
/// </summary>
internal enum InstructionSet
{
    /// <summary>128-bit vectors of .NET: whatever the processor is.</summary>
    Portable,

    /// <summary>x86-64 with AVX2 and FMA (Haswell, Zen).</summary>
    Avx2,

    /// <summary>x86-64 with AVX-512 F, BW, DQ, VL (Skylake server, Ice Lake, Zen 4).</summary>
    Avx512,

    /// <summary>AVX-512, and products with bf16 and int8 weights on AMX tiles (Sapphire Rapids and later, Linux).</summary>
    Amx,
}

/// <summary>Which instruction sets are there, and which one a backend uses.</summary>
internal static class InstructionSets
{
    /// <summary>The environment variable that forces one: amx, avx512, avx2 or portable.</summary>
    public const string Variable = "KVCUDA_CPU_ISA";

    /// <summary>True if this processor, and this runtime as it was started, has it.</summary>
    public static bool IsAvailable(this InstructionSet set) => set switch
    {
        InstructionSet.Amx => InstructionSet.Avx512.IsAvailable() && Tiles.Available,
        InstructionSet.Avx512 => Vector512.IsHardwareAccelerated && Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported,
        InstructionSet.Avx2 => Avx2.IsSupported && Fma.IsSupported,
        _ => true,
    };

    /// <summary>The name in messages.</summary>
    public static string Name(this InstructionSet set) => set switch
    {
        InstructionSet.Amx => "AMX",
        InstructionSet.Avx512 => "AVX-512",
        InstructionSet.Avx2 => "AVX2",
        _ => "portable SIMD",
    };

    /// <summary>The best there is.</summary>
    public static InstructionSet Best =>
        InstructionSet.Amx.IsAvailable() ? InstructionSet.Amx
        : InstructionSet.Avx512.IsAvailable() ? InstructionSet.Avx512
        : InstructionSet.Avx2.IsAvailable() ? InstructionSet.Avx2
        : InstructionSet.Portable;

    /// <summary>What <see cref="Variable"/> asks for, else the best.</summary>
    /// <exception cref="DeviceException">It asks for what is unknown or not there.</exception>
    public static InstructionSet Chosen() => Parse(Environment.GetEnvironmentVariable(Variable));

    /// <summary>The set of a name; the best for null or nothing.</summary>
    /// <exception cref="DeviceException">The name is unknown, or this process does not have it; the message says why if the processor has.</exception>
    public static InstructionSet Parse(string? name)
    {
        if (string.IsNullOrEmpty(name))
        {
            return Best;
        }
        InstructionSet set = name switch
        {
            "amx" => InstructionSet.Amx,
            "avx512" => InstructionSet.Avx512,
            "avx2" => InstructionSet.Avx2,
            "portable" => InstructionSet.Portable,
            _ => throw new DeviceException($"{Variable} is '{name}'; it must be amx, avx512, avx2 or portable, or not set."),
        };
        if (set.IsAvailable())
        {
            return set;
        }
        string why = set == InstructionSet.Amx && Tiles.Missing is { } missing ? $" ({missing})" : "";
        throw new DeviceException(
            $"{Variable} asks for {set.Name()}, which this process does not have{why}; the best it has is {Best.Name()}.");
    }
}
