using System.Runtime.CompilerServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// How one stored element type is read and written; arithmetic is f32. A product takes 32 numbers at a time as two groups of
/// sixteen lanes; which number is in which lane is the type's choice, and the activations are laid out to match.
/// </summary>
/// <typeparam name="T">the stored bits</typeparam>
internal unsafe interface IElement<T> where T : unmanaged
{
    /// <summary>
    /// True: of 32 numbers the even ones are the first group, the odd ones the second. False: the first and the last sixteen.
    /// </summary>
    static abstract bool SplitsEvenOdd { get; }

    /// <summary>The first group of the 32 numbers from <paramref name="source"/> on.</summary>
    static abstract TLanes First<TLanes>(T* source) where TLanes : struct, ILanes<TLanes>;

    /// <summary>The second group.</summary>
    static abstract TLanes Second<TLanes>(T* source) where TLanes : struct, ILanes<TLanes>;

    /// <summary>Sixteen numbers in order.</summary>
    static abstract TLanes Load<TLanes>(T* source) where TLanes : struct, ILanes<TLanes>;

    /// <summary>Rounds to nearest, ties to even.</summary>
    static abstract T Round(float value);

    static abstract float Widen(T value);
}

/// <summary>f32 as it is.</summary>
internal readonly unsafe struct F32Element : IElement<float>
{
    public static bool SplitsEvenOdd => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes First<TLanes>(float* source) where TLanes : struct, ILanes<TLanes> => TLanes.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Second<TLanes>(float* source) where TLanes : struct, ILanes<TLanes> => TLanes.Load(source + 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load<TLanes>(float* source) where TLanes : struct, ILanes<TLanes> => TLanes.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Round(float value) => value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(float value) => value;
}

/// <summary>
/// bf16 is the upper half of an f32. Two neighbours share a 32-bit word: a shift widens the even one, a mask the odd one, so
/// that no instruction moves numbers between lanes.
/// </summary>
internal readonly unsafe struct BF16Element : IElement<ushort>
{
    public static bool SplitsEvenOdd => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes First<TLanes>(ushort* source) where TLanes : struct, ILanes<TLanes> => TLanes.EvenBF16(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Second<TLanes>(ushort* source) where TLanes : struct, ILanes<TLanes> => TLanes.OddBF16(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load<TLanes>(ushort* source) where TLanes : struct, ILanes<TLanes> => TLanes.LoadBF16(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Round(float value) => BF16.FromSingle(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(ushort value) => BF16.ToSingle(value);
}

/// <summary>f16: the exponent is rebased by an exact multiplication with 2^112, which also gets subnormals right.</summary>
internal readonly unsafe struct F16Element : IElement<Half>
{
    /// <summary>What rebases an f16 exponent (bias 15) to f32's (bias 127).</summary>
    public const float TwoTo112 = 5.192296858534828e33f;

    /// <summary>Infinity's bits when shifted into an f32; it and NaN keep an exponent of all ones.</summary>
    public const int Infinity = 0x0F80_0000;

    public static bool SplitsEvenOdd => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes First<TLanes>(Half* source) where TLanes : struct, ILanes<TLanes> => TLanes.LoadF16(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Second<TLanes>(Half* source) where TLanes : struct, ILanes<TLanes> => TLanes.LoadF16(source + 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load<TLanes>(Half* source) where TLanes : struct, ILanes<TLanes> => TLanes.LoadF16(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Half Round(float value) => (Half)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(Half value) => (float)value;
}
