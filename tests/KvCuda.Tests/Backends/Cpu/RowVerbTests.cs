using KvCuda.Backends.Cpu;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Backends.Cpu;

/// <summary>The verbs that look at one row at a time.</summary>
public sealed class RowVerbTests
{
    public static TheoryData<DType, int> Shapes() => new()
    {
        // whole steps of 32 numbers, whole lanes without a whole step, and what is left
        { DType.F32, 1 }, { DType.F32, 48 }, { DType.BF16, 15 }, { DType.BF16, 64 }, { DType.BF16, 2085 }, { DType.F16, 33 }, { DType.F16, 768 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Every_row_verb_equals_its_formula_and_has_the_same_bits_on_every_instruction_set(DType type, int columns)
    {
        const int rows = 5, table = 9;
        var random = new Random(columns);
        Matrix x = Matrix.Random(random, rows, columns), up = Matrix.Random(random, rows, columns);
        Matrix weight = Matrix.Random(random, 1, columns, type), bias = Matrix.Random(random, 1, columns, type);
        Matrix embedding = Matrix.Random(random, table, columns, type);
        int[] index = [8, -1, 0, 3, 3];
        float[]? expected = null;
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            using var backend = new CpuBackend(2, set);
            var bits = new List<float>();
            void Check(string verb, Tensor y, Matrix reference)
            {
                Tolerance.ElementWise.Check($"{verb}, {set}", y.Span<float>(), reference);
                bits.AddRange(y.Span<float>());
            }

            Tensor result = backend.Result(rows, columns);
            backend.RmsNorm(result, backend.Upload(x), backend.Upload(weight, type), 1e-5f);
            Check("RmsNorm", result, NormReference.RmsNorm(x, weight, 1e-5f));
            result = backend.Result(rows, columns);
            backend.LayerNorm(result, backend.Upload(x), backend.Upload(weight, type), backend.Upload(bias, type), 1e-2f);
            Check("LayerNorm", result, NormReference.LayerNorm(x, weight, bias, 1e-2f));
            result = backend.Result(rows, columns);
            Matrix rowsOf = Matrix.Random(random, rows, columns);
            backend.Embed(result, backend.Upload(embedding, type), backend.Upload(index));
            RowsReference.Embed(rowsOf, embedding, index, add: false);
            Check("Embed", result, rowsOf);
            backend.EmbedAdd(result, backend.Upload(embedding, type), backend.Upload(index));
            RowsReference.Embed(rowsOf, embedding, index, add: true);
            Check("EmbedAdd", result, rowsOf);
            Matrix ones = new(rows, columns);
            Array.Fill(ones.Numbers, 1);
            foreach (Activation activation in Enum.GetValues<Activation>())
            {
                result = backend.Result(rows, columns);
                Tensor gate = backend.Upload(x);
                backend.Gate(result, gate, backend.Upload(up), activation);
                Check($"Gate {activation}", result, MatmulReference.Gate(x, up, activation));
                backend.Gate(gate, gate, backend.Upload(up), activation); // in place
                Check($"Gate {activation} in place", gate, MatmulReference.Gate(x, up, activation));
                Tensor activated = backend.Upload(x);
                backend.Activate(activated, activation);
                Check($"Activate {activation}", activated, MatmulReference.Gate(x, ones, activation));
            }
            expected ??= [.. bits];
            Assert.Equal(expected.Select(BitConverter.SingleToInt32Bits), bits.Select(BitConverter.SingleToInt32Bits));
        }
    }

    [Fact]
    public void Activations_of_what_is_not_a_number_are_not_numbers_and_nothing_fails()
    {
        float[] numbers = [float.NaN, 1, float.PositiveInfinity, -1, BitConverter.UInt32BitsToSingle(0xFFC0_0001)];
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            foreach (Activation activation in Enum.GetValues<Activation>())
            {
                using var backend = new CpuBackend(2, set);
                Tensor x = backend.Allocate("x", DType.F32, 1, numbers.Length);
                numbers.CopyTo(x.Span<float>());
                backend.Activate(x, activation);
                float[] y = x.Span<float>().ToArray();
                Assert.True(float.IsNaN(y[0]) && float.IsNaN(y[4]), $"{set}, {activation}: NaN became {y[0]} and {y[4]}");
                Assert.True(float.IsFinite(y[1]) && float.IsFinite(y[3]) && y[2] == float.PositiveInfinity, $"{set}, {activation}: {string.Join(' ', y)}");
            }
        }
    }

    [Fact]
    public void The_exponential_is_right_to_the_last_place_from_zero_to_infinity_and_keeps_what_is_not_a_number()
    {
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            Func<float[], float[]> exp = set switch
            {
                InstructionSet.Avx512 or InstructionSet.Amx => Exp<Lanes512>,
                InstructionSet.Avx2 => Exp<Lanes256>,
                _ => Exp<Lanes128>,
            };
            float[] x = [.. Enumerable.Range(-110_000, 210_000).Select(i => i * 1e-3f)];
            float[] y = exp(x);
            for (int i = 0; i < x.Length; i++)
            {
                double right = Math.Exp(x[i]);
                if (right < float.MaxValue)
                {
                    double place = MathF.BitIncrement((float)right) - (double)(float)right;
                    Assert.True(Math.Abs(y[i] - right) <= 1.1 * place, $"{set}: e^{x[i]:R} is {y[i]:R}, not {right:R}");
                }
                else
                {
                    Assert.Equal(float.PositiveInfinity, y[i]);
                }
            }
            float[] ends = exp([float.NegativeInfinity, -1e30f, -104, 0, 89, 1e30f, float.PositiveInfinity, float.NaN, 1, 1, 1, 1, 1, 1, 1, 1]);
            Assert.Equal([0, 0, 0, 1, float.PositiveInfinity, float.PositiveInfinity, float.PositiveInfinity, float.NaN], ends[..8]);
        }
    }

    static unsafe float[] Exp<TLanes>(float[] x) where TLanes : struct, ILanes<TLanes>
    {
        float[] y = new float[x.Length];
        fixed (float* from = x, to = y)
        {
            for (int i = 0; i + 16 <= x.Length; i += 16)
            {
                TLanes.Store(LaneMath.Exp(TLanes.Load(from + i)), to + i);
            }
        }
        return y;
    }
}
