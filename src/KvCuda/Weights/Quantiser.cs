using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace KvCuda.Weights;

/// <summary>Weights as int8 (<see cref="Int8Layout"/>), made when a model is loaded.</summary>
static unsafe class Quantiser
{
    /// <summary>
    /// Whether a weight is quantised: the matrices that every token is multiplied with, which are nearly all bytes that a decode
    /// step reads. Embeddings are not (a token reads one row), nor norms and biases (a few numbers that scale or shift everything),
    /// nor a matrix whose rows are not whole groups.
    /// </summary>
    public static bool Takes(TensorRole role, in Tensor tensor) => tensor.Columns % Int8Layout.Group == 0
        && role is TensorRole.Query or TensorRole.Key or TensorRole.Value or TensorRole.Output or TensorRole.Gate or TensorRole.Up
            or TensorRole.Down or TensorRole.Head;

    /// <summary>
    /// destination = source, rounded to the nearest multiple of each group's scale (ties to even), on all cores. The scale is the
    /// group's largest magnitude / 127, rounded up to bf16: no byte leaves ±127, and no number is off by more than half a scale.
    /// </summary>
    /// <param name="destination">(rows, columns) int8, zeroed</param>
    /// <param name="source">(rows, columns) f32, f16 or bf16; columns a multiple of 32. A group with a number that is not finite becomes NaN</param>
    public static void Quantise(in Tensor destination, in Tensor source)
    {
        Expect.Shape(destination, source.Rows, source.Columns);
        Expect.Type(destination, DType.Int8);
        (Tensor to, Tensor from) = (destination, source);
        Int8Layout layout = new(to.Rows, to.Columns);
        Parallel.For(0, layout.Blocks, () => new float[from.Columns], (block, _, row) =>
        {
            byte* place = (byte*)to.Address + block * layout.BlockBytes;
            for (int r = block * Int8Layout.Block; r < Math.Min(from.Rows, (block + 1) * Int8Layout.Block); r++)
            {
                Widen(row, from.Slice(r, 1));
                Row(place, layout, r, row);
            }
            return row;
        }, _ => { });
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

    static void Widen(Span<float> numbers, in Tensor row)
    {
        switch (row.Type)
        {
            case DType.F32:
                row.Span<float>().CopyTo(numbers);
                break;
            case DType.F16:
                TensorPrimitives.ConvertToSingle(row.Span<Half>(), numbers);
                break;
            default:
                ReadOnlySpan<ushort> bits = row.Span<ushort>();
                for (int i = 0; i < numbers.Length; i++)
                {
                    numbers[i] = BF16.ToSingle(bits[i]);
                }
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Row(byte* block, in Int8Layout layout, int output, ReadOnlySpan<float> row)
    {
        ref float numbers = ref MemoryMarshal.GetReference(row);
        for (int i = 0; i < row.Length; i += Int8Layout.Group)
        {
            Vector256<float> a = Vector256.LoadUnsafe(ref numbers, (nuint)i), b = Vector256.LoadUnsafe(ref numbers, (nuint)i + 8);
            Vector256<float> c = Vector256.LoadUnsafe(ref numbers, (nuint)i + 16), d = Vector256.LoadUnsafe(ref numbers, (nuint)i + 24);
            Vector256<float> most = Vector256.Max(Vector256.Max(Vector256.Abs(a), Vector256.Abs(b)), Vector256.Max(Vector256.Abs(c), Vector256.Abs(d)));
            float largest = 0;
            for (int lane = 0; lane < 8; lane++)
            {
                largest = MathF.Max(largest, most[lane]); // NaN wins
            }
            ushort scale = float.IsFinite(largest) ? BF16.FromSingleUp(largest / 127) : BF16.FromSingle(float.NaN);
            ((ushort*)block)[Int8Layout.ScaleAt(output, i)] = scale;
            // A scale that underflowed stands for nothing but zeros.
            Vector256<float> divisor = Vector256.Create(scale > 0 ? BF16.ToSingle(scale) : float.PositiveInfinity);
            Vector256<short> low = Vector256.Narrow(Round(a / divisor), Round(b / divisor)), high = Vector256.Narrow(Round(c / divisor), Round(d / divisor));
            Vector256<int> quads = Vector256.Narrow(low, high).AsInt32();
            for (int quad = 0; quad < Int8Layout.Group / Int8Layout.Quad; quad++)
            {
                *(int*)(block + layout.QuadAt(output, i + quad * Int8Layout.Quad)) = quads[quad];
            }
        }
    }

    static Vector256<int> Round(Vector256<float> x) => Vector256.ConvertToInt32(Vector256.Round(x));
}
