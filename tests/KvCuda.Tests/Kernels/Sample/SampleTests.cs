using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Kernels.Sample;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;
using SampleKernel = KvCuda.Kernels.Sample.SampleRow;
using SampleRow = KvCuda.Tensors.SampleRow;

namespace KvCuda.Tests.Kernels.Sample;

public class SampleTests
{
    static readonly SampleRow plain = new() { Temperature = 1, TopP = 1, RepetitionPenalty = 1 };

    [Theory]
    [InlineData(1)]
    [InlineData(999)]
    [InlineData(5001)]
    public void Argmax_takes_the_lowest_of_equals_and_never_nan(int vocabulary)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(vocabulary);
        Matrix logits = Matrix.Random(random, 3, vocabulary);
        logits[1, vocabulary / 2] = 9;
        logits[1, vocabulary - 1] = 9;
        logits[2, 0] = double.NaN;
        DeviceArray<int> tokens = device.Output<int>(3);
        new Argmax(device.Library).Launch(device.Stream, new("tokens", DType.I32, tokens.Address, 1, 3), device.Tensor(logits));
        SameBits.Check<int>("argmax", [Largest(logits, 0), vocabulary / 2, Largest(logits, 2)], tokens.Read(), "the tokens");
    }

    static int Largest(Matrix logits, int row)
    {
        int best = 0;
        for (int token = 1; token < logits.Columns; token++)
        {
            best = logits[row, token] > logits[row, best] || double.IsNaN(logits[row, best]) ? token : best;
        }
        return best;
    }

    [Fact]
    public void The_random_number_is_philoxs()
    {
        // The known answer of Philox4x32-10 for key and counter zero starts with 6627e8d5.
        Assert.Equal((0x6627e8d5u >> 8) / 16777216.0, SampleReference.Philox(default));
    }

    [Theory]
    [InlineData(17)]
    [InlineData(1000)]
    public void Draws_are_those_of_the_sorted_definition(int vocabulary)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(vocabulary);
        SampleRow[] rows =
        [
            plain, plain with { Temperature = 0.3f }, plain with { Temperature = 2, TopK = 5 }, plain with { TopP = 0.6f },
            plain with { MinP = 0.2f }, plain with { TopK = 12, TopP = 0.8f, MinP = 0.01f, Temperature = 1.5f },
            plain with { Temperature = 0, RepetitionPenalty = 1.7f, HistoryCount = 9 },
            plain with { RepetitionPenalty = 0.5f, HistoryStart = 9, HistoryCount = 3 }, plain with { TopK = 1 }, plain with { TopP = 0 },
        ];
        int[] history = [.. Enumerable.Range(0, 9).Select(i => i), 1, 12, 16];
        for (int round = 0; round < 4; round++)
        {
            Matrix logits = Matrix.Random(random, rows.Length, vocabulary, DType.F32, scale: 2);
            for (int token = 0; token < vocabulary; token += 3)
            {
                logits[0, token] = 1.5; // ties: lower ids first
            }
            int[] expected = new int[rows.Length];
            for (int row = 0; row < rows.Length; row++)
            {
                rows[row].SeedLow = (uint)random.Next();
                rows[row].SeedHigh = (uint)random.Next();
                rows[row].Step = random.Next();
                float[] copy = [.. logits.Row(row).ToArray().Select(x => (float)x)];
                expected[row] = SampleReference.Choose(copy, rows[row], history.AsSpan(rows[row].HistoryStart, rows[row].HistoryCount));
            }
            DeviceArray<int> tokens = device.Output<int>(rows.Length);
            DeviceArray<int> parameters = device.Upload<int>(MemoryMarshal.Cast<SampleRow, int>(rows));
            new SampleKernel(device.Library).Launch(device.Stream, new("tokens", DType.I32, tokens.Address, 1, rows.Length),
                device.Tensor(logits), new("parameters", DType.I32, parameters.Address, rows.Length, SampleRow.Words), device.Tensor(history));
            SameBits.Check<int>("sample_row", expected, tokens.Read(), "the tokens");
        }
    }
}
