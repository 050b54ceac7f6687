using KvCuda.Backends.Cpu;
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
        Matrix plain = MatmulReference.MatMul(x, weight), both = MatmulReference.MatMul(x, weight, bias);
        for (int i = 0; i < both.Numbers.Length; i++)
        {
            both.Numbers[i] += plain.Numbers[i];
        }
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            using var backend = new CpuBackend(2, set);
            Tensor y = backend.Result(rows, outputs);
            backend.MatMul(y, backend.Upload(x), backend.Upload(weight, type));
            Tolerance.Sums.Check($"{set}", y.Span<float>(), plain);
            backend.MatMulAdd(y, backend.Upload(x), backend.Upload(weight, type), backend.Upload(bias, type));
            Tolerance.Sums.Check($"{set} + bias +=", y.Span<float>(), both);
        }
    }

    [Theory]
    [InlineData(DType.F32, 100, 37)]
    [InlineData(DType.BF16, 2085, 130)]
    [InlineData(DType.F16, 768, 66)]
    public void A_rows_bits_are_the_same_alone_in_any_batch_and_on_every_instruction_set(DType type, int inputs, int outputs)
    {
        const int rows = 26;
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, type);
        float[]? expected = null;
        foreach (InstructionSet set in CpuTensors.Sets)
        {
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
}
