using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Tensors;

/// <summary>Weights to int8 and back (<see cref="Int8Layout"/>).</summary>
static unsafe class Int8Quantiser
{
    /// <summary>
    /// destination = source, rounded to the nearest multiple of each group's scale (ties to even), on all cores. The scale is the
    /// group's largest magnitude / 127, rounded up to bf16: no byte leaves ±127, and no number is off by more than half a scale.
    /// </summary>
    /// <param name="destination">(rows, columns) int8, zeroed</param>
    /// <param name="source">(rows, columns) f32, f16 or bf16; columns a multiple of 32. A group with a number that is not finite becomes NaN</param>
    public static void Quantise(in Tensor destination, in Tensor source)
    {
        Expect.Shape(destination, source.Rows, source.Columns);
        Expect.Format(destination, WeightFormat.Int8);
        (Tensor to, Tensor from) = (destination, source);
        Int8Layout layout = new(to.Rows, to.Columns);
        // A share of blocks: some milliseconds, so that no core waits long for the last one.
        int share = (int)Math.Clamp((1 << 20) / ((long)from.Columns * Int8Layout.Block), 1, layout.Blocks);
        Parallel.For(0, (layout.Blocks + share - 1) / share, part =>
        {
            for (int block = part * share; block < Math.Min(layout.Blocks, (part + 1) * share); block++)
            {
                Block((byte*)to.Address + block * layout.BlockBytes, layout, from, block * Int8Layout.Block);
            }
        });
    }

    /// <summary>The numbers that a row of a quantised weight stands for.</summary>
    public static void Dequantise(Span<float> numbers, in Tensor weight, int row)
    {
        Int8Layout layout = new(weight.Rows, weight.Columns);
        byte* block = (byte*)weight.Address + row / Int8Layout.Block * layout.BlockBytes;
        for (int i = 0; i < numbers.Length; i++)
        {
            float scale = BF16.ToSingle(((ushort*)block)[Int8Layout.ScaleAt(row, i)]);
            numbers[i] = scale * ((sbyte*)block)[layout.QuadAt(row, i) + i % Int8Layout.Quad];
        }
    }

    // One block, group after group: its bytes are written once, line after line.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Block(byte* block, in Int8Layout layout, in Tensor source, int first)
    {
        int rows = Math.Min(Int8Layout.Block, source.Rows - first), size = source.Type.Bytes();
        byte* bytes = block + layout.ScaleBytes;
        for (int group = 0; group < layout.Groups; group++, bytes += Int8Layout.GroupBytes)
        {
            byte* from = (byte*)source.Address + ((long)first * source.Columns + group * Int8Layout.Group) * size;
            for (int row = 0; row < rows; row++, from += (long)source.Columns * size)
            {
                if (Sse.IsSupported)
                {
                    Sse.Prefetch0(from + Ahead); // the rows are more streams than the processor follows by itself
                }
                Vector512<float> a = Sixteen(from, source.Type), b = Sixteen(from + 16 * size, source.Type);
                // Magnitudes as whole numbers are in the same order, and NaN is above all.
                Vector512<int> magnitude = Vector512.Create(0x7FFF_FFFF);
                float largest = BitConverter.Int32BitsToSingle(Largest(Vector512.Max(a.AsInt32() & magnitude, b.AsInt32() & magnitude)));
                if (!float.IsFinite(largest))
                {
                    ((ushort*)block)[group * Int8Layout.Block + row] = BF16.FromSingle(float.NaN); // its bytes stay 0
                    continue;
                }
                ushort scale = BF16.FromSingleUp(largest / 127);
                ((ushort*)block)[group * Int8Layout.Block + row] = scale;
                // A scale that underflowed stands for nothing but zeros.
                Vector512<float> divisor = Vector512.Create(scale > 0 ? BF16.ToSingle(scale) : float.PositiveInfinity);
                Vector128<int> low = Rounded(a / divisor), high = Rounded(b / divisor);
                int* to = (int*)bytes + row;
                for (int quad = 0; quad < 4; quad++)
                {
                    to[quad * Int8Layout.Block] = low[quad];
                    to[(quad + 4) * Int8Layout.Block] = high[quad];
                }
            }
        }
    }

    const int Ahead = 512;

    // Stored numbers as f32.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Sixteen(void* source, DType type)
    {
        switch (type)
        {
            case DType.F32:
                return Vector512.Load((float*)source);
            case DType.BF16:
                Vector256<ushort> bits = Vector256.Load((ushort*)source);
                Vector512<uint> wide = Avx512F.IsSupported ? Avx512F.ConvertToVector512UInt32(bits)
                    : Vector512.Create(Vector256.WidenLower(bits), Vector256.WidenUpper(bits));
                return Vector512.ShiftLeft(wide, 16).AsSingle();
            default:
                return SixteenF16((Half*)source);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static Vector512<float> SixteenF16(Half* source)
    {
        float* numbers = stackalloc float[16];
        for (int i = 0; i < 16; i++)
        {
            numbers[i] = (float)source[i];
        }
        return Vector512.Load(numbers);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static int Largest(Vector512<int> sixteen)
    {
        Vector256<int> eight = Vector256.Max(sixteen.GetLower(), sixteen.GetUpper());
        Vector128<int> four = Vector128.Max(eight.GetLower(), eight.GetUpper());
        Vector128<int> two = Vector128.Max(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return Vector128.Max(two, Vector128.Shuffle(two, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    // Numbers within ±127 to the nearest whole ones, ties to even: four signed bytes to an int.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<int> Rounded(Vector512<float> numbers)
    {
        if (Avx512F.IsSupported)
        {
            return Avx512F.ConvertToVector128SByte(Avx512F.ConvertToVector512Int32(numbers)).AsInt32();
        }
        Vector256<int> low = Vector256.ConvertToInt32Native(Vector256.Round(numbers.GetLower()));
        Vector256<int> high = Vector256.ConvertToInt32Native(Vector256.Round(numbers.GetUpper()));
        Vector256<short> words = Vector256.Narrow(low, high);
        return Vector128.Narrow(words.GetLower(), words.GetUpper()).AsInt32();
    }
}
