using System.Runtime.CompilerServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Quantised weights: a step of 32 numbers is one group. A weight is scale * byte rounded to f32, and from there on all is as for other
/// types: activations are not quantised, so the numerics classes hold as they stand, and the error is the weights' alone.
/// Per sixteen numbers that is a sign-extending load, a conversion and two multiplications, which two vector ports do in two
/// cycles; the bytes come from memory no faster.
/// </summary>
internal readonly unsafe struct Int8Element : IElement<Int8Group>
{
    public static bool SplitsEvenOdd => false;

    public static int Numbers => Int8Group.Numbers;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes First<TLanes>(Int8Group* source) where TLanes : struct, ILanes<TLanes> =>
        TLanes.Multiply(TLanes.LoadInt8(source->Q), TLanes.All(source->Scale));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Second<TLanes>(Int8Group* source) where TLanes : struct, ILanes<TLanes> =>
        TLanes.Multiply(TLanes.LoadInt8(source->Q + 16), TLanes.All(source->Scale));

    public static TLanes Load<TLanes>(Int8Group* source) where TLanes : struct, ILanes<TLanes> => throw new NotSupportedException();

    public static Int8Group Round(float value) => throw new NotSupportedException();

    public static float Widen(Int8Group value) => throw new NotSupportedException();
}
