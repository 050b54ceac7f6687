using System.Runtime.CompilerServices;

namespace KvCuda.Backends.Cpu;

/// <summary>Functions of sixteen lanes, of operations that every instruction set rounds alike: the same bits on all of them.</summary>
internal static class LaneMath
{
    /// <summary>
    /// e^x within 1.1 units in the last place; 0 and infinity where f32 ends, NaN of NaN. x = n ln 2 + r with whole n, ln 2 in two
    /// parts (Cody and Waite 1980), e^r by the polynomial of expf in Moshier's Cephes.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Exp<TLanes>(TLanes x) where TLanes : struct, ILanes<TLanes>
    {
        // Beyond these all is 0 or infinity, and n stays in the range of TimesTwoTo.
        x = TLanes.Max(TLanes.Min(x, TLanes.All(174)), TLanes.All(-174));
        // Adding 1.5 * 2^23 leaves no bits behind the point: rounded to the nearest whole number.
        TLanes n = TLanes.Add(TLanes.Fma(x, TLanes.All(1.44269504f), TLanes.All(12582912)), TLanes.All(-12582912));
        TLanes r = TLanes.Fma(n, TLanes.All(2.12194440e-4f), TLanes.Fma(n, TLanes.All(-0.693359375f), x));
        TLanes p = TLanes.Fma(TLanes.All(1.9875691500e-4f), r, TLanes.All(1.3981999507e-3f));
        p = TLanes.Fma(p, r, TLanes.All(8.3334519073e-3f));
        p = TLanes.Fma(p, r, TLanes.All(4.1665795894e-2f));
        p = TLanes.Fma(p, r, TLanes.All(1.6666665459e-1f));
        p = TLanes.Fma(p, r, TLanes.All(5.0000001201e-1f));
        return TLanes.TimesTwoTo(TLanes.Add(TLanes.Fma(p, TLanes.Multiply(r, r), r), TLanes.All(1)), n);
    }

    /// <summary>1 / (1 + e^-x)</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Sigmoid<TLanes>(TLanes x) where TLanes : struct, ILanes<TLanes> =>
        TLanes.Divide(TLanes.All(1), TLanes.Add(TLanes.All(1), Exp(TLanes.Multiply(x, TLanes.All(-1)))));
}
