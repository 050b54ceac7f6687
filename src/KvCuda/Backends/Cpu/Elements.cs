using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>How one stored element type is read and written, 8 numbers at a time; arithmetic is f32.</summary>
/// <typeparam name="T">the stored bits</typeparam>
internal unsafe interface IElement<T> where T : unmanaged
{
    static abstract Vector256<float> Load8(T* source);

    /// <summary>Rounds to nearest, ties to even.</summary>
    static abstract T Round(float value);
}

/// <summary>f32 as it is.</summary>
internal readonly unsafe struct F32Element : IElement<float>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load8(float* source) => Vector256.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Round(float value) => value;
}

/// <summary>bf16: the upper half of an f32, so widening is a shift.</summary>
internal readonly unsafe struct BF16Element : IElement<ushort>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load8(ushort* source) => Vector256.ShiftLeft(Widen.Eight(source), 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Round(float value) => BF16.FromSingle(value);
}

/// <summary>f16: the exponent is rebased by an exact multiplication with 2^112, which also gets subnormals right.</summary>
internal readonly unsafe struct F16Element : IElement<Half>
{
    const float TwoTo112 = 5.192296858534828e33f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load8(Half* source)
    {
        Vector256<int> bits = Widen.Eight((ushort*)source);
        Vector256<int> sign = Vector256.ShiftLeft(bits & Vector256.Create(0x8000), 16);
        Vector256<int> magnitude = Vector256.ShiftLeft(bits & Vector256.Create(0x7FFF), 13);
        Vector256<int> finite = (magnitude.AsSingle() * Vector256.Create(TwoTo112)).AsInt32();
        // Infinity and NaN: an f16 exponent of all ones becomes an f32 exponent of all ones.
        Vector256<int> special = Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(0x0F80_0000));
        return (sign | finite | (special & Vector256.Create(0x7F80_0000))).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Half Round(float value) => (Half)value;
}

/// <summary>Eight 16-bit numbers, each in a 32-bit lane.</summary>
internal static unsafe class Widen
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Eight(ushort* source)
    {
        Vector128<ushort> bits = Vector128.Load(source);
        return Avx2.IsSupported
            ? Avx2.ConvertToVector256Int32(bits)
            : Vector256.Create(Vector128.WidenLower(bits), Vector128.WidenUpper(bits)).AsInt32();
    }
}
