using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace KvCuda.Weights;

/// <summary>Weights as int8 (<see cref="Int8Group"/>), made when a model is loaded.</summary>
static unsafe class Quantiser
{
    /// <summary>
    /// Whether a weight is quantised: the matrices that every token is multiplied with, which are nearly all bytes that a decode
    /// step reads. Embeddings are not (a token reads one row), nor norms and biases (a few numbers that scale or shift everything),
    /// nor a matrix whose rows are not whole groups.
    /// </summary>
    public static bool Takes(TensorRole role, in Tensor tensor) => tensor.Columns % Int8Group.Numbers == 0
        && role is TensorRole.Query or TensorRole.Key or TensorRole.Value or TensorRole.Output or TensorRole.Gate or TensorRole.Up
            or TensorRole.Down or TensorRole.Head;

    /// <summary>destination = source, rounded to the nearest multiple of each group's scale (ties to even), on all cores.</summary>
    /// <param name="destination">(rows, columns) int8</param>
    /// <param name="source">(rows, columns) f32, f16 or bf16; columns a multiple of 32. A group with a number that is not finite becomes NaN</param>
    public static void Quantise(in Tensor destination, in Tensor source)
    {
        Expect.Shape(destination, source.Rows, source.Columns);
        Expect.Type(destination, DType.Int8);
        (Tensor to, Tensor from) = (destination, source);
        int rows = Math.Max(1, (1 << 18) / from.Columns);
        Parallel.For(0, (from.Rows + rows - 1) / rows, () => new float[from.Columns], (block, _, row) =>
        {
            for (int r = block * rows; r < Math.Min(from.Rows, (block + 1) * rows); r++)
            {
                Widen(row, from.Slice(r, 1));
                Row((Int8Group*)to.Slice(r, 1).Address, row);
            }
            return row;
        }, _ => { });
    }

    /// <summary>The numbers that a quantised row stands for.</summary>
    public static void Dequantise(Span<float> numbers, in Tensor row)
    {
        Int8Group* group = (Int8Group*)row.Address;
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = group[i / Int8Group.Numbers].Scale * group[i / Int8Group.Numbers].Q[i % Int8Group.Numbers];
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
    static void Row(Int8Group* group, ReadOnlySpan<float> row)
    {
        ref float numbers = ref MemoryMarshal.GetReference(row);
        for (int i = 0; i < row.Length; i += Int8Group.Numbers, group++)
        {
            Vector256<float> a = Vector256.LoadUnsafe(ref numbers, (nuint)i), b = Vector256.LoadUnsafe(ref numbers, (nuint)i + 8);
            Vector256<float> c = Vector256.LoadUnsafe(ref numbers, (nuint)i + 16), d = Vector256.LoadUnsafe(ref numbers, (nuint)i + 24);
            Vector256<float> most = Vector256.Max(Vector256.Max(Vector256.Abs(a), Vector256.Abs(b)), Vector256.Max(Vector256.Abs(c), Vector256.Abs(d)));
            float largest = 0;
            for (int lane = 0; lane < 8; lane++)
            {
                largest = MathF.Max(largest, most[lane]); // NaN wins
            }
            float scale = float.IsFinite(largest) ? largest / 127 : float.NaN;
            group->Scale = scale;
            // A scale that underflowed stands for nothing but zeros.
            Vector256<float> inverse = Vector256.Create(scale > 0 ? scale : float.PositiveInfinity);
            Vector256<short> low = Vector256.Narrow(Round(a / inverse), Round(b / inverse)), high = Vector256.Narrow(Round(c / inverse), Round(d / inverse));
            Vector256.Narrow(low, high).Store(group->Q);
        }
    }

    static Vector256<int> Round(Vector256<float> x) => Vector256.ConvertToInt32(Vector256.Round(x));
}
