using KvCuda.Tensors;

namespace KvCuda.Kernels;

/// <summary>The names that element types have in kernels/shared/types.cuh.</summary>
internal static class DeviceTypes
{
    /// <summary>The types that weights, keys and values may have.</summary>
    public static IReadOnlyList<DType> Floats { get; } = [DType.F32, DType.F16, DType.BF16];

    /// <summary>Both values of a switch, for lists of variants.</summary>
    public static IReadOnlyList<bool> NoYes { get; } = [false, true];

    /// <summary>What a kernel is baked with: float, f16, bf16.</summary>
    public static string DeviceName(this DType type) => type switch
    {
        DType.F32 => "float",
        DType.F16 => "f16",
        DType.BF16 => "bf16",
        _ => throw new ArgumentException($"Kernels take f32, f16 and bf16 numbers here, not {type.Name()}.", nameof(type)),
    };
}
