using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Backends.Cpu.Amx;

/// <summary>
/// Activations as tiles of bf16: x = upper + lower, each a column of its own, so that a product with bf16 weights is exact in the
/// weights and off by at most 2^-17 of each activation. A tile is one step of 32 inputs of up to 8 rows of x:
///
///   [16 pairs of inputs][upper of row 0 .. n-1, lower of row 0 .. n-1][2 inputs]   with n = 1, 2, 4 or 8.
/// </summary>
internal static unsafe class XTiles
{
    /// <summary>Most rows of x in a tile: upper and lower halves fill its 16 columns.</summary>
    public const int MaxRows = 8;

    /// <summary>Rows of x that a tile has room for when there are so many in all.</summary>
    public static int RowsOf(int rows) => rows switch { 1 => 1, 2 => 2, <= 4 => 4, _ => MaxRows };

    /// <summary>
    /// The tiles of some rows, step after step. The last step of a row that is no multiple of 32 long covers its last 32 inputs
    /// again, with zeros for those that had their turn.
    /// </summary>
    /// <param name="x">(rows, inputs)</param>
    /// <param name="rows">1 to <paramref name="tileRows"/></param>
    /// <param name="inputs">at least 32</param>
    /// <param name="tileRows">1, 2, 4 or 8</param>
    /// <param name="destination">the first tile</param>
    /// <param name="step">bytes from a tile to the next</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Pack(float* x, int rows, int inputs, int tileRows, byte* destination, nint step)
    {
        int steps = (inputs + Product.Step - 1) / Product.Step;
        uint* columns = stackalloc uint[2 * MaxRows * 16];
        for (int s = 0; s < steps; s++, destination += step)
        {
            int first = Math.Min(s * Product.Step, inputs - Product.Step), done = s * Product.Step - first;
            for (int row = 0; row < tileRows; row++)
            {
                Vector512<uint> upper = default, lower = default;
                if (row < rows)
                {
                    Split(x + (long)row * inputs + first, done, out upper, out lower);
                }
                upper.Store(columns + row * 16);
                lower.Store(columns + (tileRows + row) * 16);
            }
            if (tileRows == MaxRows)
            {
                Transpose(columns, (uint*)destination);
                continue;
            }
            uint* to = (uint*)destination;
            for (int pair = 0; pair < 16; pair++)
            {
                for (int column = 0; column < 2 * tileRows; column++)
                {
                    *to++ = columns[column * 16 + pair];
                }
            }
        }
    }

    // 32 numbers as 32 bf16 and the 32 bf16 of what those leave of them; the first `done` as zeros.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Split(float* x, int done, out Vector512<uint> upper, out Vector512<uint> lower)
    {
        Vector512<float> a = Vector512.Load(x), b = Vector512.Load(x + 16);
        if (done > 0)
        {
            Vector512<int> index = Vector512<int>.Indices;
            a = Vector512.ConditionalSelect(Vector512.LessThan(index, Vector512.Create(done)).AsSingle(), default, a);
            b = Vector512.ConditionalSelect(Vector512.LessThan(index, Vector512.Create(done - 16)).AsSingle(), default, b);
        }
        Vector512<uint> mask = Vector512.Create(0xFFFF_0000u), roundedA = Rounded(a), roundedB = Rounded(b);
        upper = UpperHalves(roundedA, roundedB);
        // What is left is exact in f32.
        lower = UpperHalves(Rounded(a - (roundedA & mask).AsSingle()), Rounded(b - (roundedB & mask).AsSingle()));
    }

    // To nearest, ties to even, in the upper half; NaN as it is, lest its bits overflow.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<uint> Rounded(Vector512<float> x)
    {
        Vector512<uint> bits = x.AsUInt32();
        Vector512<uint> rounded = bits + Vector512.Create(0x7FFFu) + (Vector512.ShiftRightLogical(bits, 16) & Vector512.Create(1u));
        return Vector512.ConditionalSelect(Vector512.Equals(x, x).AsUInt32(), rounded, bits);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<uint> UpperHalves(Vector512<uint> a, Vector512<uint> b) =>
        Avx512BW.PermuteVar32x16x2(a.AsUInt16(), Odd, b.AsUInt16()).AsUInt32();

    static Vector512<ushort> Odd
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector512.Create((ushort)1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53,
            55, 57, 59, 61, 63);
    }

    // to[pair][column] = from[column][pair], 16 x 16: neighbours, then pairs within quarters of 128 bits, then the quarters.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Transpose(uint* from, uint* to)
    {
        for (int block = 0; block < 16; block += 4)
        {
            Vector512<uint> a = Vector512.Load(from + block * 16), b = Vector512.Load(from + (block + 1) * 16);
            Vector512<uint> c = Vector512.Load(from + (block + 2) * 16), d = Vector512.Load(from + (block + 3) * 16);
            Vector512<ulong> ab0 = Avx512F.UnpackLow(a, b).AsUInt64(), ab1 = Avx512F.UnpackHigh(a, b).AsUInt64();
            Vector512<ulong> cd0 = Avx512F.UnpackLow(c, d).AsUInt64(), cd1 = Avx512F.UnpackHigh(c, d).AsUInt64();
            // Row i of these holds, in quarter q, the four columns' pair 4q + i.
            Scatter(Avx512F.UnpackLow(ab0, cd0).AsUInt32(), to + block);
            Scatter(Avx512F.UnpackHigh(ab0, cd0).AsUInt32(), to + 16 + block);
            Scatter(Avx512F.UnpackLow(ab1, cd1).AsUInt32(), to + 32 + block);
            Scatter(Avx512F.UnpackHigh(ab1, cd1).AsUInt32(), to + 48 + block);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Scatter(Vector512<uint> quarters, uint* to)
    {
        quarters.GetLower().GetLower().Store(to);
        quarters.GetLower().GetUpper().Store(to + 64);
        quarters.GetUpper().GetLower().Store(to + 128);
        quarters.GetUpper().GetUpper().Store(to + 192);
    }
}
