using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Backends.Cpu;

/// <summary>f32 numbers in one register.</summary>
internal unsafe interface IRegister<TSelf> where TSelf : struct, IRegister<TSelf>
{
    /// <summary>How many: 4, 8 or 16.</summary>
    static abstract int Width { get; }

    static abstract TSelf Load(float* source);

    static abstract void Store(TSelf value, float* destination);

    static abstract TSelf All(float value);

    static abstract TSelf Add(TSelf a, TSelf b);

    static abstract TSelf Multiply(TSelf a, TSelf b);

    /// <summary>a * b + c, rounded once.</summary>
    static abstract TSelf Fma(TSelf a, TSelf b, TSelf c);
}

/// <summary>
/// Sixteen f32 lanes: the unit in which every reduction order is stated, so that all instruction sets give the same bits.
/// One AVX-512 register, two of AVX2, four portable ones.
/// </summary>
internal unsafe interface ILanes<TSelf> : IRegister<TSelf> where TSelf : struct, ILanes<TSelf>
{
    /// <summary>Query rows or products that fit the registers beside their operands, when each needs one or two of these.</summary>
    static abstract bool HasManyRegisters { get; }

    /// <summary>The numbers 0, 2, .., 30 of 32 bf16: the lower half of each 32-bit word, shifted into place.</summary>
    static abstract TSelf EvenBF16(ushort* source);

    /// <summary>The numbers 1, 3, .., 31 of 32 bf16: the upper half of each 32-bit word, where an f32 wants it.</summary>
    static abstract TSelf OddBF16(ushort* source);

    /// <summary>Sixteen bf16 in order.</summary>
    static abstract TSelf LoadBF16(ushort* source);

    /// <summary>Sixteen f16 in order.</summary>
    static abstract TSelf LoadF16(Half* source);

    static abstract TSelf Divide(TSelf a, TSelf b);

    /// <summary>The larger of each two; NaN where either is NaN.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>The smaller of each two; NaN where either is NaN.</summary>
    static abstract TSelf Min(TSelf a, TSelf b);

    /// <summary>a * 2^n for whole n from -252 to 252, rounded once: also to subnormals and infinity.</summary>
    static abstract TSelf TimesTwoTo(TSelf a, TSelf n);

    /// <summary>The largest lane; NaN if one is.</summary>
    static abstract float Largest(TSelf a);

    /// <summary>
    /// The sum of all lanes, by halving: lanes j and j + 8, then j and j + 4, j and j + 2, the last two.
    /// </summary>
    static abstract float Sum(TSelf a);

    /// <summary>The <see cref="Sum"/> of each of four.</summary>
    static abstract Vector128<float> Sum4(TSelf a, TSelf b, TSelf c, TSelf d);
}

/// <summary>One AVX-512 register.</summary>
internal readonly unsafe struct Lanes512(Vector512<float> value) : ILanes<Lanes512>
{
    readonly Vector512<float> v = value;

    public static int Width => 16;

    public static bool HasManyRegisters => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Lanes512 value, float* destination) => value.v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 All(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Add(Lanes512 a, Lanes512 b) => new(a.v + b.v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Multiply(Lanes512 a, Lanes512 b) => new(a.v * b.v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Fma(Lanes512 a, Lanes512 b, Lanes512 c) => new(Avx512F.FusedMultiplyAdd(a.v, b.v, c.v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Divide(Lanes512 a, Lanes512 b) => new(a.v / b.v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Max(Lanes512 a, Lanes512 b) => new(Vector512.Max(a.v, b.v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Min(Lanes512 a, Lanes512 b) => new(Vector512.Min(a.v, b.v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 TimesTwoTo(Lanes512 a, Lanes512 n) => new(Avx512F.Scale(a.v, n.v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Lanes512 a) => Lanes256.LargestOf(Vector256.Max(a.v.GetLower(), a.v.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 EvenBF16(ushort* source) =>
        new(Vector512.ShiftLeft(Vector512.Load((uint*)source), 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 OddBF16(ushort* source) =>
        new((Vector512.Load((uint*)source) & Vector512.Create(0xFFFF_0000)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadBF16(ushort* source) =>
        new(Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load(source)), 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadF16(Half* source)
    {
        Vector512<int> bits = Avx512F.ConvertToVector512Int32(Vector256.Load((ushort*)source));
        Vector512<int> sign = Vector512.ShiftLeft(bits & Vector512.Create(0x8000), 16);
        Vector512<int> magnitude = Vector512.ShiftLeft(bits & Vector512.Create(0x7FFF), 13);
        Vector512<int> finite = (magnitude.AsSingle() * Vector512.Create(F16Element.TwoTo112)).AsInt32();
        Vector512<int> special = Vector512.GreaterThanOrEqual(magnitude, Vector512.Create(F16Element.Infinity));
        return new((sign | finite | (special & Vector512.Create(0x7F80_0000))).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes512 a) => Lanes256.SumOf(a.v.GetLower() + a.v.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(Lanes512 a, Lanes512 b, Lanes512 c, Lanes512 d)
    {
        // Quarters 0 and 1 of two vectors side by side, plus their quarters 2 and 3: lanes j + (j + 8).
        Vector512<float> ab = Avx512F.Shuffle4x128(a.v, b.v, 0b01_00_01_00) + Avx512F.Shuffle4x128(a.v, b.v, 0b11_10_11_10);
        Vector512<float> cd = Avx512F.Shuffle4x128(c.v, d.v, 0b01_00_01_00) + Avx512F.Shuffle4x128(c.v, d.v, 0b11_10_11_10);
        Vector512<float> four = Avx512F.Shuffle4x128(ab, cd, 0b10_00_10_00) + Avx512F.Shuffle4x128(ab, cd, 0b11_01_11_01);
        Vector512<float> two = four + Avx512F.Permute4x32(four, 0b01_00_11_10);
        Vector512<float> one = two + Avx512F.Permute4x32(two, 0b10_11_00_01);
        return Avx512F.PermuteVar16x32(one, Vector512.Create(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)).GetLower().GetLower();
    }
}

/// <summary>One AVX2 register.</summary>
internal readonly unsafe struct Register256(Vector256<float> value) : IRegister<Register256>
{
    readonly Vector256<float> v = value;

    public static int Width => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Load(float* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Register256 value, float* destination) => value.v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 All(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Add(Register256 a, Register256 b) => new(a.v + b.v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Multiply(Register256 a, Register256 b) => new(a.v * b.v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Fma(Register256 a, Register256 b, Register256 c) => new(System.Runtime.Intrinsics.X86.Fma.MultiplyAdd(a.v, b.v, c.v));
}

/// <summary>Two AVX2 registers.</summary>
internal readonly unsafe struct Lanes256(Vector256<float> lower, Vector256<float> upper) : ILanes<Lanes256>
{
    readonly Vector256<float> low = lower, high = upper;

    public static int Width => 16;

    public static bool HasManyRegisters => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Load(float* source) => new(Vector256.Load(source), Vector256.Load(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Lanes256 value, float* destination)
    {
        value.low.Store(destination);
        value.high.Store(destination + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 All(float value) => new(Vector256.Create(value), Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Add(Lanes256 a, Lanes256 b) => new(a.low + b.low, a.high + b.high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Multiply(Lanes256 a, Lanes256 b) => new(a.low * b.low, a.high * b.high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Fma(Lanes256 a, Lanes256 b, Lanes256 c) => new(
        System.Runtime.Intrinsics.X86.Fma.MultiplyAdd(a.low, b.low, c.low),
        System.Runtime.Intrinsics.X86.Fma.MultiplyAdd(a.high, b.high, c.high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Divide(Lanes256 a, Lanes256 b) => new(a.low / b.low, a.high / b.high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Max(Lanes256 a, Lanes256 b) => new(Vector256.Max(a.low, b.low), Vector256.Max(a.high, b.high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Min(Lanes256 a, Lanes256 b) => new(Vector256.Min(a.low, b.low), Vector256.Min(a.high, b.high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 TimesTwoTo(Lanes256 a, Lanes256 n) => new(Scaled(a.low, n.low), Scaled(a.high, n.high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Lanes256 a) => LargestOf(Vector256.Max(a.low, a.high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float LargestOf(Vector256<float> eight) => Lanes128.LargestOf(Vector128.Max(eight.GetLower(), eight.GetUpper()));

    // Two factors, each a normal number; the first product is exact wherever the second is not zero.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Scaled(Vector256<float> a, Vector256<float> n)
    {
        Vector256<int> whole = Vector256.ConvertToInt32(n), half = Vector256.ShiftRightArithmetic(whole, 1), bias = Vector256.Create(127);
        return a * Vector256.ShiftLeft(half + bias, 23).AsSingle() * Vector256.ShiftLeft(whole - half + bias, 23).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 EvenBF16(ushort* source) => new(
        Vector256.ShiftLeft(Vector256.Load((uint*)source), 16).AsSingle(),
        Vector256.ShiftLeft(Vector256.Load((uint*)source + 8), 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 OddBF16(ushort* source) => new(
        (Vector256.Load((uint*)source) & Vector256.Create(0xFFFF_0000)).AsSingle(),
        (Vector256.Load((uint*)source + 8) & Vector256.Create(0xFFFF_0000)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadBF16(ushort* source) => new(EightBF16(source), EightBF16(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadF16(Half* source) => new(EightF16(source), EightF16(source + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes256 a) => SumOf(a.low + a.high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(Lanes256 a, Lanes256 b, Lanes256 c, Lanes256 d) =>
        Vector128.Create(Sum(a), Sum(b), Sum(c), Sum(d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float SumOf(Vector256<float> eight) => Lanes128.SumOf(eight.GetLower() + eight.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> EightBF16(ushort* source) =>
        Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load(source)), 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> EightF16(Half* source)
    {
        Vector256<int> bits = Avx2.ConvertToVector256Int32(Vector128.Load((ushort*)source));
        Vector256<int> sign = Vector256.ShiftLeft(bits & Vector256.Create(0x8000), 16);
        Vector256<int> magnitude = Vector256.ShiftLeft(bits & Vector256.Create(0x7FFF), 13);
        Vector256<int> finite = (magnitude.AsSingle() * Vector256.Create(F16Element.TwoTo112)).AsInt32();
        Vector256<int> special = Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(F16Element.Infinity));
        return (sign | finite | (special & Vector256.Create(0x7F80_0000))).AsSingle();
    }
}

/// <summary>One 128-bit register.</summary>
internal readonly unsafe struct Register128(Vector128<float> value) : IRegister<Register128>
{
    readonly Vector128<float> v = value;

    public static int Width => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Load(float* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Register128 value, float* destination) => value.v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 All(float value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Add(Register128 a, Register128 b) => new(a.v + b.v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Multiply(Register128 a, Register128 b) => new(a.v * b.v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Fma(Register128 a, Register128 b, Register128 c) => new(Vector128.FusedMultiplyAdd(a.v, b.v, c.v));
}

/// <summary>Four 128-bit registers of whatever processor this is.</summary>
internal readonly unsafe struct Lanes128(Vector128<float> first, Vector128<float> second, Vector128<float> third, Vector128<float> fourth)
    : ILanes<Lanes128>
{
    readonly Vector128<float> a = first, b = second, c = third, d = fourth;

    public static int Width => 16;

    public static bool HasManyRegisters => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Load(float* source) =>
        new(Vector128.Load(source), Vector128.Load(source + 4), Vector128.Load(source + 8), Vector128.Load(source + 12));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Lanes128 value, float* destination)
    {
        value.a.Store(destination);
        value.b.Store(destination + 4);
        value.c.Store(destination + 8);
        value.d.Store(destination + 12);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 All(float value) =>
        new(Vector128.Create(value), Vector128.Create(value), Vector128.Create(value), Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Add(Lanes128 x, Lanes128 y) => new(x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Multiply(Lanes128 x, Lanes128 y) => new(x.a * y.a, x.b * y.b, x.c * y.c, x.d * y.d);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Fma(Lanes128 x, Lanes128 y, Lanes128 z) => new(
        Vector128.FusedMultiplyAdd(x.a, y.a, z.a), Vector128.FusedMultiplyAdd(x.b, y.b, z.b),
        Vector128.FusedMultiplyAdd(x.c, y.c, z.c), Vector128.FusedMultiplyAdd(x.d, y.d, z.d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Divide(Lanes128 x, Lanes128 y) => new(x.a / y.a, x.b / y.b, x.c / y.c, x.d / y.d);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Max(Lanes128 x, Lanes128 y) =>
        new(Vector128.Max(x.a, y.a), Vector128.Max(x.b, y.b), Vector128.Max(x.c, y.c), Vector128.Max(x.d, y.d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Min(Lanes128 x, Lanes128 y) =>
        new(Vector128.Min(x.a, y.a), Vector128.Min(x.b, y.b), Vector128.Min(x.c, y.c), Vector128.Min(x.d, y.d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 TimesTwoTo(Lanes128 x, Lanes128 n) =>
        new(Scaled(x.a, n.a), Scaled(x.b, n.b), Scaled(x.c, n.c), Scaled(x.d, n.d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Lanes128 x) => LargestOf(Vector128.Max(Vector128.Max(x.a, x.b), Vector128.Max(x.c, x.d)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float LargestOf(Vector128<float> four) => MathF.Max(MathF.Max(four[0], four[1]), MathF.Max(four[2], four[3]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> Scaled(Vector128<float> a, Vector128<float> n)
    {
        Vector128<int> whole = Vector128.ConvertToInt32(n), half = Vector128.ShiftRightArithmetic(whole, 1), bias = Vector128.Create(127);
        return a * Vector128.ShiftLeft(half + bias, 23).AsSingle() * Vector128.ShiftLeft(whole - half + bias, 23).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 EvenBF16(ushort* source) => new(Even(source), Even(source + 8), Even(source + 16), Even(source + 24));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 OddBF16(ushort* source) => new(Odd(source), Odd(source + 8), Odd(source + 16), Odd(source + 24));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadBF16(ushort* source) =>
        new(FourBF16(source), FourBF16(source + 4), FourBF16(source + 8), FourBF16(source + 12));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadF16(Half* source) =>
        new(FourF16(source), FourF16(source + 4), FourF16(source + 8), FourF16(source + 12));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes128 x) => SumOf((x.a + x.c) + (x.b + x.d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(Lanes128 x, Lanes128 y, Lanes128 z, Lanes128 w) =>
        Vector128.Create(Sum(x), Sum(y), Sum(z), Sum(w));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float SumOf(Vector128<float> four) => (four[0] + four[2]) + (four[1] + four[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> Even(ushort* source) => Vector128.ShiftLeft(Vector128.Load((uint*)source), 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> Odd(ushort* source) =>
        (Vector128.Load((uint*)source) & Vector128.Create(0xFFFF_0000)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> FourBF16(ushort* source) =>
        Vector128.ShiftLeft(Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)source).AsUInt16()), 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> FourF16(Half* source)
    {
        Vector128<int> bits = Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)source).AsUInt16()).AsInt32();
        Vector128<int> sign = Vector128.ShiftLeft(bits & Vector128.Create(0x8000), 16);
        Vector128<int> magnitude = Vector128.ShiftLeft(bits & Vector128.Create(0x7FFF), 13);
        Vector128<int> finite = (magnitude.AsSingle() * Vector128.Create(F16Element.TwoTo112)).AsInt32();
        Vector128<int> special = Vector128.GreaterThanOrEqual(magnitude, Vector128.Create(F16Element.Infinity));
        return (sign | finite | (special & Vector128.Create(0x7F80_0000))).AsSingle();
    }
}
