using System.Runtime.CompilerServices;

namespace KvCuda.Tensors;

/// <summary>Conversions between f32 and bf16 bits (.NET has no BFloat16 type; f16 is <see cref="Half"/>).</summary>
internal static class BF16
{
    /// <summary>Exact: a bf16 is the upper half of an f32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ToSingle(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    /// <summary>Round to nearest, ties to even; NaN stays NaN (quiet), as cvt.rn.bf16.f32 does.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort FromSingle(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if ((bits & 0x7FFF_FFFF) > 0x7F80_0000)
        {
            return 0x7FFF;
        }
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>The least bf16 that is not below a number that is finite and not negative.</summary>
    public static ushort FromSingleUp(float value) => (ushort)(BitConverter.SingleToUInt32Bits(value) + 0xFFFF >> 16);
}
