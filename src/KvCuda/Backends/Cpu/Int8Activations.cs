using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Activations rounded to 16 bits, so that products with int8 weights are products of integers: of every 32 inputs of a row,
///
///     scale = largest magnitude / 32512,   number[i] = x[i] * (32512 / largest magnitude), to the nearest (ties to even)
///
/// 32512 = 127 * 256: a number is 256 * high + low with two signed bytes. The grid is 256 times finer than that of the weights, and
/// a sum of 32 products with bytes stays below 2^27. Where the largest magnitude is below <see cref="Zero"/>, scale and
/// numbers are 0; where a number is not finite, the scale is NaN.
/// </summary>
internal static unsafe class Int8Activations
{
    public const float Most = 127 * 256;

    /// <summary>Below it quotients would no longer be ordinary numbers.</summary>
    const float Zero = 1e-30f;

    const int Infinity = 0x7F80_0000;

    /// <summary>
    /// A row of a tile of rows: its numbers go to [group][row][32] and its scales to [group][row], so that a product reads a
    /// group of all rows of its tile as one run.
    /// </summary>
    /// <param name="x">the row</param>
    /// <param name="groups">groups of 32</param>
    /// <param name="numbers">where the row's first group goes</param>
    /// <param name="scales">where its first scale goes</param>
    /// <param name="rows">rows of the tile</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Row(float* x, int groups, short* numbers, float* scales, int rows)
    {
        for (int group = 0; group < groups; group++, x += Int8Layout.Group, numbers += rows * Int8Layout.Group, scales += rows)
        {
            Round(x, out *scales).Store(numbers);
        }
    }

    /// <summary>32 inputs as numbers and their scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<short> Round(float* x, out float scale)
    {
        Vector512<float> a = Vector512.Load(x), b = Vector512.Load(x + 16);
        // The bits of magnitudes are ordered as they are, infinity and then NaN last.
        Vector512<int> magnitude = Vector512.Create(int.MaxValue);
        int most = Largest(Vector512.Max(a.AsInt32() & magnitude, b.AsInt32() & magnitude));
        float largest = BitConverter.Int32BitsToSingle(most);
        if (most >= Infinity || largest < Zero)
        {
            scale = most >= Infinity ? float.NaN : 0;
            return default;
        }
        scale = largest / Most;
        Vector512<float> inverse = Vector512.Create(Most / largest);
        return Vector512.Narrow(Integers(a * inverse), Integers(b * inverse));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static int Largest(Vector512<int> sixteen)
    {
        Vector256<int> eight = Vector256.Max(sixteen.GetLower(), sixteen.GetUpper());
        Vector128<int> four = Vector128.Max(eight.GetLower(), eight.GetUpper());
        four = Vector128.Max(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return Vector128.Max(four, Vector128.Shuffle(four, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<int> Integers(Vector512<float> x) => Vector512.ConvertToInt32Native(Vector512.Round(x));
}
