using KvCuda.Backends.Cpu;
using KvCuda.Backends.Cpu.Amx;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Backends.Cpu;

public sealed class MatMulTests
{
    public static TheoryData<DType, int, int, int> Shapes() => new()
    {
        // rows, inputs, outputs: whole steps and tails of inputs, whole panels and tails of outputs, every size of tile
        { DType.F32, 1, 1, 1 }, { DType.F32, 1, 31, 3 }, { DType.F32, 2, 33, 5 }, { DType.F32, 3, 64, 130 }, { DType.F32, 7, 100, 9 },
        { DType.BF16, 1, 32, 7 }, { DType.BF16, 1, 193, 66 }, { DType.BF16, 2, 65, 4 }, { DType.BF16, 4, 95, 33 }, { DType.BF16, 5, 128, 17 },
        { DType.BF16, 2, 2048, 96 }, { DType.BF16, 3, 512, 63 }, { DType.BF16, 9, 65, 32 }, { DType.BF16, 16, 96, 65 }, { DType.BF16, 33, 4160, 300 },
        { DType.BF16, 11, 70, 41 }, { DType.BF16, 17, 2100, 21 }, { DType.BF16, 40, 768, 70 },
        { DType.F16, 1, 63, 8 }, { DType.F16, 3, 96, 31 }, { DType.F16, 6, 47, 12 }, { DType.F16, 13, 2200, 6 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void MatMul_equals_its_formula_on_every_instruction_set(DType type, int rows, int inputs, int outputs)
    {
        var random = new Random(rows + inputs);
        // Thousands of terms of size 1 would sum to 50 and round by as much as the tolerance allows; smaller ones do not.
        Matrix x = Matrix.Random(random, rows, inputs, scale: inputs > 1000 ? 0.25 : 1), weight = Matrix.Random(random, outputs, inputs, type);
        Matrix bias = Matrix.Random(random, 1, outputs, type);
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            // Tiles keep 16 bits of an activation.
            Matrix kept = set == InstructionSet.Amx && type == DType.BF16 && TileProduct.Takes(inputs, outputs) ? UpperAndLower(x) : x;
            Matrix plain = MatmulReference.MatMul(kept, weight), both = MatmulReference.MatMul(kept, weight, bias);
            for (int i = 0; i < both.Numbers.Length; i++)
            {
                both.Numbers[i] += plain.Numbers[i];
            }
            using var backend = new CpuBackend(2, set);
            Tensor y = backend.Result(rows, outputs);
            backend.MatMul(y, backend.Upload(x), backend.Upload(weight, type));
            Tolerance.Sums.Check($"{set}", y.Span<float>(), plain);
            backend.MatMulAdd(y, backend.Upload(x), backend.Upload(weight, type), backend.Upload(bias, type));
            Tolerance.Sums.Check($"{set} + bias +=", y.Span<float>(), both);
        }
    }

    /// <summary>Each number as the sum of two bf16, which is off by at most 2^-17 of it.</summary>
    static Matrix UpperAndLower(Matrix x)
    {
        Matrix kept = new(x.Rows, x.Columns);
        for (int i = 0; i < x.Numbers.Length; i++)
        {
            float number = (float)x.Numbers[i], upper = BF16.ToSingle(BF16.FromSingle(number));
            kept.Numbers[i] = (double)upper + BF16.ToSingle(BF16.FromSingle(number - upper));
            Assert.True(Math.Abs(kept.Numbers[i] - number) <= Math.ScaleB(Math.Abs(number), -17));
        }
        return kept;
    }

    [Fact]
    public void On_AMX_huge_tiny_and_broken_activations_stay_what_they_are()
    {
        Assert.SkipUnless(InstructionSet.Amx.IsAvailable(), "This processor, or this system, has no AMX tiles.");
        float[] numbers = [0, 1e-30f, 3e38f, float.PositiveInfinity, float.NaN, BitConverter.Int32BitsToSingle(0x7FFF_FFFF), BitConverter.Int32BitsToSingle(-1)];
        using var backend = new CpuBackend(2, InstructionSet.Amx);
        Tensor weight = backend.Allocate("weight", DType.BF16, 32, 40);
        weight.Span<ushort>()[3] = BF16.FromSingle(0.5f); // the rest is zero
        foreach (int rows in new[] { 1, 9, 20 })
        {
            foreach (float number in numbers)
            {
                Tensor x = backend.Allocate("x", DType.F32, rows, 40), y = backend.Result(rows, 32);
                x.Span<float>()[(rows - 1) * 40 + 3] = number;
                backend.MatMul(y, x, weight);
                float found = y.Span<float>()[(rows - 1) * 32];
                if (float.IsFinite(number))
                {
                    Assert.Equal(number / 2, found, number / 200_000);
                }
                else
                {
                    Assert.False(float.IsFinite(found), $"{number} became {found}");
                }
                Assert.True(rows == 1 || y.Span<float>()[..((rows - 1) * 32)].SequenceEqual(new float[(rows - 1) * 32]), "other rows are touched");
            }
        }
    }

    [Theory]
    [InlineData(DType.F32, 100, 37)]
    [InlineData(DType.BF16, 2085, 130)]
    [InlineData(DType.BF16, 4128, 70)]
    [InlineData(DType.F16, 768, 66)]
    public void A_rows_bits_are_the_same_alone_in_any_batch_and_on_every_instruction_set_but_AMX(DType type, int inputs, int outputs)
    {
        const int rows = 26;
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, type);
        float[]? expected = null;
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            // AMX has an order of sums of its own for bf16, and in it the same bits for every batch.
            expected = set == InstructionSet.Amx && type == DType.BF16 ? null : expected;
            foreach (int threads in new[] { 1, 3 })
            {
                using var backend = new CpuBackend(threads, set);
                Tensor xs = backend.Upload(x), weights = backend.Upload(weight, type);
                for (int batch = 1; batch <= rows; batch++)
                {
                    Tensor y = backend.Result(rows, outputs);
                    for (int row = 0; row < rows; row += batch)
                    {
                        int count = Math.Min(batch, rows - row);
                        backend.MatMul(y.Slice(row, count), xs.Slice(row, count), weights);
                    }
                    expected ??= y.Span<float>().ToArray();
                    Assert.True(y.Span<float>().SequenceEqual(expected), $"{set}, {threads} threads, {batch} rows at a time");
                }
            }
        }
    }

    [Fact]
    public void Half_precision_weights_keep_subnormals_infinity_and_nan()
    {
        Half[] numbers = [Half.Epsilon, -Half.Epsilon, (Half)6.1e-5f, (Half)3e-5f, Half.MaxValue, Half.PositiveInfinity, Half.NaN, Half.NegativeZero];
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            using var backend = new CpuBackend(1, set);
            Tensor weight = backend.Allocate("weight", DType.F16, numbers.Length, 1), x = backend.Upload(new Matrix(1, 1) { [0, 0] = 1 });
            numbers.CopyTo(weight.Span<Half>());
            Tensor y = backend.Result(1, numbers.Length);
            backend.MatMul(y, x, weight);
            Assert.Equal(numbers.Select(n => (float)n), y.Span<float>().ToArray());
        }
    }

    [Theory]
    [InlineData(DType.BF16, 1)]
    [InlineData(DType.BF16, 21)]
    [InlineData(DType.F32, 3)]
    public void Projections_taken_together_have_the_bits_of_each_alone(DType type, int rows)
    {
        const int inputs = 72, heads = 3, kvHeads = 1, headDim = 38, hidden = 75;
        var random = new Random(rows);
        Matrix x = Matrix.Random(random, rows, inputs);
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            using var backend = new CpuBackend(2, set);
            Tensor xs = backend.Upload(x);
            (Tensor Weight, Tensor Bias) Of(int outputs) => (backend.Upload(Matrix.Random(random, outputs, inputs, type), type),
                backend.Upload(Matrix.Random(random, 1, outputs, type), type));
            Tensor Alone((Tensor Weight, Tensor Bias) w)
            {
                Tensor y = backend.Result(rows, w.Weight.Rows);
                backend.MatMul(y, xs, w.Weight, w.Bias);
                return y;
            }

            (Tensor Weight, Tensor Bias) query = Of(heads * headDim), gate = Of(hidden), up = Of(hidden);
            Tensor q = backend.Result(rows, heads * headDim), g = backend.Result(rows, hidden), scratch = backend.Result(rows, hidden);
            backend.MatMulQkv(new KvView { Shape = new(16, kvHeads, headDim, 32) }, q, default, default, xs,
                new() { Query = query.Weight, QueryBias = query.Bias }, default, default);
            Assert.True(q.Span<float>().SequenceEqual(Alone(query).Span<float>()), $"{set}: queries");

            backend.MatMulGate(g, scratch, xs, gate.Weight, up.Weight, gate.Bias, up.Bias, Activation.Silu);
            Tensor expected = backend.Result(rows, hidden);
            backend.Gate(expected, Alone(gate), Alone(up), Activation.Silu);
            Assert.True(g.Span<float>().SequenceEqual(expected.Span<float>()), $"{set}: gates");
        }
    }
}
