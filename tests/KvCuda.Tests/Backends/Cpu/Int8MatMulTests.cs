using KvCuda.Backends.Cpu;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;
using KvCuda.Weights;

namespace KvCuda.Tests.Backends.Cpu;

/// <summary>Products with int8 weights: one definition, the same bits on every instruction set, in every batch, by any number of threads.</summary>
public sealed class Int8MatMulTests
{
    [Theory]
    [InlineData(1, 32, 1)]
    [InlineData(1, 96, 16)]
    [InlineData(2, 64, 17)]
    [InlineData(3, 160, 66)]
    [InlineData(5, 2080, 33)]
    [InlineData(8, 768, 130)]
    [InlineData(13, 1056, 48)]
    [InlineData(40, 2048, 70)]
    public void A_product_has_the_bits_of_its_definition_on_every_instruction_set(int rows, int inputs, int outputs)
    {
        var random = new Random(rows + inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs);
        Matrix bias = Matrix.Random(random, 1, outputs, DType.BF16);
        float[] expected = Int8Reference.MatMul(x, weight);
        float[] with = [.. expected.Select((sum, i) => sum + (float)bias[0, i % outputs])];
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            using var backend = new CpuBackend(2, set);
            Tensor y = backend.Result(rows, outputs), quantised = Quantised(backend, weight);

            backend.MatMul(y, backend.Upload(x), quantised);
            Assert.True(y.Span<float>().SequenceEqual(expected), $"{set}");

            backend.MatMulAdd(y, backend.Upload(x), quantised, backend.Upload(bias, DType.BF16));
            Assert.True(y.Span<float>().SequenceEqual([.. expected.Zip(with, (plain, sum) => plain + sum)]), $"{set} + bias +=");

            backend.MatMulAdd(y, backend.Upload(x), quantised);
            Assert.True(y.Span<float>().SequenceEqual([.. expected.Zip(with, (plain, sum) => plain + sum + plain)]), $"{set} +=");

            backend.MatMul(y, backend.Upload(x), quantised, backend.Upload(bias, DType.BF16));
            Assert.True(y.Span<float>().SequenceEqual(with), $"{set} + bias");
        }
    }

    [Theory]
    [InlineData(32, 19)]
    [InlineData(1120, 100)]
    [InlineData(2048, 256)]
    public void A_rows_bits_are_the_same_alone_and_in_any_batch_by_any_number_of_threads(int inputs, int outputs)
    {
        const int rows = 20;
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs);
        float[]? expected = null;
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            foreach (int threads in new[] { 1, 2, 5 })
            {
                using var backend = new CpuBackend(threads, set);
                Tensor xs = backend.Upload(x), quantised = Quantised(backend, weight);
                for (int batch = 1; batch <= rows; batch++)
                {
                    Tensor y = backend.Result(rows, outputs);
                    for (int row = 0; row < rows; row += batch)
                    {
                        int count = Math.Min(batch, rows - row);
                        backend.MatMul(y.Slice(row, count), xs.Slice(row, count), quantised);
                    }
                    expected ??= y.Span<float>().ToArray();
                    Assert.True(y.Span<float>().SequenceEqual(expected), $"{set}, {threads} threads, {batch} rows at a time");
                }
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(9)]
    [InlineData(50)]
    public void Products_with_the_same_x_have_the_same_bits_taken_as_one_and_alone(int rows)
    {
        const int inputs = 160, hidden = 150;
        var random = new Random(rows);
        Matrix x = Matrix.Random(random, rows, inputs), gate = Matrix.Random(random, hidden, inputs), up = Matrix.Random(random, hidden, inputs);
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            using var backend = new CpuBackend(2, set);
            Tensor xs = backend.Upload(x), gates = Quantised(backend, gate), ups = Quantised(backend, up);
            Tensor expected = backend.Result(rows, hidden), expectedUp = backend.Result(rows, hidden);
            backend.MatMul(expected, xs, gates);
            backend.MatMul(expectedUp, xs, ups);
            backend.Gate(expected, expected, expectedUp, Activation.Silu);
            Tensor g = backend.Result(rows, hidden), u = backend.Result(rows, hidden);
            backend.MatMulGate(g, u, xs, gates, ups, default, default, Activation.Silu);
            Assert.True(u.Span<float>().SequenceEqual(expectedUp.Span<float>()), $"{set}: up");
            Assert.True(g.Span<float>().SequenceEqual(expected.Span<float>()), $"{set}: gate");
        }
    }

    [Fact]
    public void Rounding_activations_costs_no_more_than_half_a_step_of_their_grid()
    {
        const int rows = 6, inputs = 2048, outputs = 64;
        using var backend = new CpuBackend(2);
        var random = new Random(3);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs);
        Tensor y = backend.Result(rows, outputs), quantised = Quantised(backend, weight);
        backend.MatMul(y, backend.Upload(x), quantised);
        float[] numbers = new float[inputs];
        for (int output = 0; output < outputs; output++)
        {
            WeightFormat.Int8.Dequantise!(numbers, quantised, output);
            for (int row = 0; row < rows; row++)
            {
                Int8Reference.Rounded[] groups = Int8Reference.Row(x, row, Int8Reference.Activations);
                double exact = 0, bound = 0, size = 0;
                for (int i = 0; i < inputs; i++)
                {
                    exact += x[row, i] * numbers[i];
                    bound += Math.Abs(numbers[i]) * groups[i / 32].Scale * 0.501;
                    size += Math.Abs(x[row, i] * numbers[i]);
                }
                // Besides there are 64 roundings of the sum to f32.
                Assert.InRange(y.Span<float>()[row * outputs + output] - exact, -bound - 1e-6 * size, bound + 1e-6 * size);
                // They are chance: together they are far below the bound.
                Assert.InRange(bound / size, 0, 1.0 / 10_000);
            }
        }
    }

    [Fact]
    public void Zeros_tiny_huge_and_infinite_activations_and_those_that_are_no_numbers_give_what_the_definition_says()
    {
        const int inputs = 96, outputs = 21;
        var random = new Random(4);
        Matrix weight = Matrix.Random(random, outputs, inputs), x = Matrix.Random(random, 9, inputs);
        x.Row(0).Clear();
        x.Row(1)[32..64].Clear();
        x.Row(2)[..32].Fill(float.Epsilon);
        x.Row(3)[64..].Fill(1.1e-30);
        x[4, 7] = float.MaxValue;
        x[5, 40] = double.NaN;
        x[6, 95] = double.NegativeInfinity;
        x.Row(7).Fill(-0.0);
        weight.Row(20)[..32].Clear();
        weight.Row(19)[..32].Fill(1e-39);
        weight[18, 3] = double.NaN;
        weight[17, 3] = double.PositiveInfinity;
        float[] expected = Int8Reference.MatMul(x, weight);
        Assert.All(expected.Take(17), sum => Assert.Equal(0, sum));
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            using var backend = new CpuBackend(2, set);
            Tensor quantised = Quantised(backend, weight), xs = backend.Upload(x), together = backend.Result(9, outputs), alone = backend.Result(9, outputs);
            backend.MatMul(together, xs, quantised);
            for (int row = 0; row < 9; row++)
            {
                backend.MatMul(alone.Slice(row, 1), xs.Slice(row, 1), quantised);
            }
            Assert.True(together.Span<float>().SequenceEqual(expected), $"{set}: together");
            Assert.True(alone.Span<float>().SequenceEqual(expected), $"{set}: alone");
            for (int row = 0; row < 9; row++)
            {
                Assert.Equal(row is 5 or 6, float.IsNaN(together.Span<float>()[row * outputs]));
                Assert.True(float.IsNaN(together.Span<float>()[row * outputs + 18]) && float.IsNaN(together.Span<float>()[row * outputs + 17]));
            }
        }
    }

    static Tensor Quantised(CpuBackend backend, Matrix weight)
    {
        Tensor quantised = backend.Allocate("int8", WeightFormat.Int8, weight.Rows, weight.Columns);
        WeightFormat.Int8.Quantise!(quantised, backend.Upload(weight));
        return quantised;
    }
}
