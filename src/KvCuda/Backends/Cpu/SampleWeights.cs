using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// The weights of a row's ids: exp((logit - largest) / temperature) as a whole number of <see cref="SampleRow.Units"/>, to
/// the nearest, ties to even. Only additions and multiplications, each rounded once and never fused, so that every
/// instruction set and kernels/sample/sample_row.cu give the same whole numbers, and their sums do not depend on an order.
/// </summary>
/// <param name="largest">the row's largest logit, finite</param>
/// <param name="temperature">above 0</param>
internal readonly struct SampleWeights(float largest, float temperature)
{
    /// <summary>Below exp(-28) a weight is less than half a unit: 0.</summary>
    const float Lowest = -28;

    /// <summary>Buckets of <see cref="BucketOf(Vector256{float})"/> per unit of the exponent.</summary>
    const float BucketsPerUnit = 32;

    /// <summary>Number of buckets; the last one has the ids without weight.</summary>
    public const int Buckets = (int)(-Lowest * BucketsPerUnit) + 1;

    readonly Vector256<float> largest = Vector256.Create(largest);

    // A tiny temperature must not make infinity, which times 0 is no number.
    readonly Vector256<float> inverse = Vector256.Create(MathF.Min(1 / temperature, float.MaxValue));

    /// <summary>Weights of eight ids.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Of(Vector256<float> logits, out Vector256<long> low, out Vector256<long> high) =>
        Weigh(Exponent(logits), out low, out high);

    /// <summary>The weight of one id.</summary>
    public long Of(float logit)
    {
        Of(Vector256.Create(logit), out Vector256<long> low, out _);
        return low.ToScalar();
    }

    /// <summary>
    /// Where eight ids stand: bucket 0 has the largest logits, and a larger logit is never in a later bucket.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector256<int> BucketOf(Vector256<float> logits) => Place(Exponent(logits));

    /// <summary>The bucket of one id.</summary>
    public int BucketOf(float logit) => BucketOf(Vector256.Create(logit)).ToScalar();

    /// <summary>Buckets and weights of eight ids; false, without weights, if none has any.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool BucketAndWeights(Vector256<float> logits, out Vector256<int> buckets, out Vector256<long> low, out Vector256<long> high)
    {
        Vector256<float> exponent = Exponent(logits);
        if (Vector256.EqualsAll(exponent, Vector256.Create(Lowest)))
        {
            (buckets, low, high) = (default, default, default);
            return false;
        }
        buckets = Place(exponent);
        Weigh(exponent, out low, out high);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    Vector256<float> Exponent(Vector256<float> logits) =>
        Vector256.MaxNative((logits - largest) * inverse, Vector256.Create(Lowest));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<int> Place(Vector256<float> exponent) =>
        Vector256.ConvertToInt32Native(exponent * Vector256.Create(-BucketsPerUnit));

    // e^x = 2^n e^r with x = n ln 2 + r (Cody and Waite 1980), e^r by the polynomial of expf in Moshier's Cephes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Weigh(Vector256<float> x, out Vector256<long> low, out Vector256<long> high)
    {
        Vector256<float> half = Vector256.Create(12582912f); // 1.5 * 2^23: adding it leaves no bits behind the point
        Vector256<float> n = x * Vector256.Create(1.44269504f) + half;
        Vector256<int> whole = n.AsInt32() - half.AsInt32();
        n -= half;
        Vector256<float> r = x - n * Vector256.Create(0.693359375f) + n * Vector256.Create(2.12194440e-4f);
        Vector256<float> p = Vector256.Create(1.9875691500e-4f) * r + Vector256.Create(1.3981999507e-3f);
        p = p * r + Vector256.Create(8.3334519073e-3f);
        p = p * r + Vector256.Create(4.1665795894e-2f);
        p = p * r + Vector256.Create(1.6666665459e-1f);
        p = p * r + Vector256.Create(5.0000001201e-1f);
        Vector256<float> e = p * (r * r) + r + Vector256<float>.One;
        Vector256<float> units = (e.AsInt32() + Vector256.ShiftLeft(whole + Vector256.Create(SampleRow.UnitBits), 23)).AsSingle();
        Vector256<double> first = Vector256.WidenLower(units), second = Vector256.WidenUpper(units);
        // Adding 2^52 rounds to the nearest whole number and leaves it in the low bits.
        Vector256<double> magic = Vector256.Create(4503599627370496.0);
        low = (first + magic).AsInt64() - magic.AsInt64();
        high = (second + magic).AsInt64() - magic.AsInt64();
    }
}
