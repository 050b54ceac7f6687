using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Integer sums of some neighbouring outputs, as many as a register has f32 lanes, over the quads of a group. They are exact (below
/// 32 * 127 * 32512 &lt; 2^27), so every instruction set adds up as it likes.
/// </summary>
/// <typeparam name="TSelf">the sums, or the widened weights of one quad of the same outputs</typeparam>
/// <typeparam name="TRegister">one f32 for each output</typeparam>
internal unsafe interface IInt8Sums<TSelf, TRegister> where TSelf : struct where TRegister : struct, IRegister<TRegister>
{
    /// <summary>Rows whose sums fit the registers.</summary>
    static abstract int MaxRows { get; }

    /// <summary>Four weights of each output, [output][4], widened.</summary>
    static abstract TSelf Load(sbyte* quads);

    /// <summary>sums[o] + Σ weights[o][i] * x[i] over the four inputs of a quad.</summary>
    static abstract TSelf MultiplyAdd(TSelf sums, TSelf weights, short* x);

    /// <summary>The sums, each rounded to f32.</summary>
    static abstract TRegister ToSingle(TSelf sums);

    /// <summary>The outputs' scales.</summary>
    static abstract TRegister Scales(ushort* scales);
}

/// <summary>Sixteen outputs: each has its first two inputs and its last two summed in neighbouring lanes.</summary>
internal readonly unsafe struct Int8Sums512(Vector512<int> low, Vector512<int> high) : IInt8Sums<Int8Sums512, Lanes512>
{
    readonly Vector512<int> low = low, high = high; // outputs 0-7, 8-15

    public static int MaxRows => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Int8Sums512 Load(sbyte* quads) => new(
        Avx512BW.ConvertToVector512Int16(Vector256.Load(quads)).AsInt32(),
        Avx512BW.ConvertToVector512Int16(Vector256.Load(quads + 32)).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Int8Sums512 MultiplyAdd(Int8Sums512 sums, Int8Sums512 weights, short* x)
    {
        Vector512<short> quad = Vector512.Create(*(long*)x).AsInt16();
        return new(
            sums.low + Avx512BW.MultiplyAddAdjacent(weights.low.AsInt16(), quad),
            sums.high + Avx512BW.MultiplyAddAdjacent(weights.high.AsInt16(), quad));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 ToSingle(Int8Sums512 sums)
    {
        Vector512<int> even = Vector512.Create(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        return new(Avx512F.ConvertToVector512Single(Avx512F.PermuteVar16x32x2(sums.low, even, sums.high)
            + Avx512F.PermuteVar16x32x2(sums.low, even + Vector512<int>.One, sums.high)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Scales(ushort* scales) => Lanes512.LoadBF16(scales);
}

/// <summary>Eight outputs, in the same way; AVX-VNNI saves the additions.</summary>
internal readonly unsafe struct Int8Sums256(Vector256<int> low, Vector256<int> high) : IInt8Sums<Int8Sums256, Register256>
{
    readonly Vector256<int> low = low, high = high; // outputs 0-3, 4-7

    public static int MaxRows => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Int8Sums256 Load(sbyte* quads) => new(
        Avx2.ConvertToVector256Int16(quads).AsInt32(), Avx2.ConvertToVector256Int16(quads + 16).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Int8Sums256 MultiplyAdd(Int8Sums256 sums, Int8Sums256 weights, short* x)
    {
        Vector256<short> quad = Vector256.Create(*(long*)x).AsInt16();
        return AvxVnni.IsSupported
            ? new(AvxVnni.MultiplyWideningAndAdd(sums.low, weights.low.AsInt16(), quad),
                AvxVnni.MultiplyWideningAndAdd(sums.high, weights.high.AsInt16(), quad))
            : new(sums.low + Avx2.MultiplyAddAdjacent(weights.low.AsInt16(), quad),
                sums.high + Avx2.MultiplyAddAdjacent(weights.high.AsInt16(), quad));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 ToSingle(Int8Sums256 sums)
    {
        // outputs 0 1 4 5 2 3 6 7
        Vector256<int> whole = Avx2.HorizontalAdd(sums.low, sums.high);
        return new(Avx.ConvertToVector256Single(Avx2.Permute4x64(whole.AsInt64(), 0b11_01_10_00).AsInt32()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Scales(ushort* scales) =>
        new(Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(scales), 16).AsSingle());
}

/// <summary>Four outputs, a lane each: the plainest way, with what every processor has.</summary>
internal readonly unsafe struct Int8Sums128(Vector128<int> sums) : IInt8Sums<Int8Sums128, Register128>
{
    readonly Vector128<int> v = sums;

    public static int MaxRows => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Int8Sums128 Load(sbyte* quads) => new(Vector128.Load(quads).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Int8Sums128 MultiplyAdd(Int8Sums128 sums, Int8Sums128 weights, short* x) => new(sums.v
        + Vector128.ShiftRightArithmetic(Vector128.ShiftLeft(weights.v, 24), 24) * x[0]
        + Vector128.ShiftRightArithmetic(Vector128.ShiftLeft(weights.v, 16), 24) * x[1]
        + Vector128.ShiftRightArithmetic(Vector128.ShiftLeft(weights.v, 8), 24) * x[2]
        + Vector128.ShiftRightArithmetic(weights.v, 24) * x[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 ToSingle(Int8Sums128 sums) => new(Vector128.ConvertToSingle(sums.v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Scales(ushort* scales) => new(Vector128.Create(BF16.ToSingle(scales[0]), BF16.ToSingle(scales[1]),
        BF16.ToSingle(scales[2]), BF16.ToSingle(scales[3])));
}
