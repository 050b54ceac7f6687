using System.Text.Json;
using KvCuda.Backends.Cpu;
using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Tests.Backends.Cpu;
using KvCuda.Tests.Kernels;
using KvCuda.Tests.Models;
using KvCuda.Tests.Reference;
using KvCuda.Weights;

namespace KvCuda.Tests.Weights;

/// <summary>Weights as int8: what quantising loses, and that products and models keep their promises with them.</summary>
public sealed class QuantiserTests
{
    static readonly string demo = Path.Combine(NvrtcMachine.Root, "weights", "demo");

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.F16)]
    [InlineData(DType.BF16)]
    public void No_number_is_off_by_more_than_half_of_its_groups_scale(DType type)
    {
        using var backend = new CpuBackend(2);
        Matrix matrix = Matrix.Random(new Random(1), 67, 160, type);
        Tensor weight = backend.Upload(matrix, type), quantised = backend.Allocate("int8", WeightFormat.Int8, 67, 160);

        WeightFormat.Int8.Quantise!(quantised, weight);

        // 80 rows, of which 67 are there, 5 groups each; the scales of a block, 160 bytes, take 192.
        Assert.Equal(80 * 160 + 5 * 192, quantised.Bytes);
        float[] row = new float[160];
        for (int r = 0; r < 67; r++)
        {
            WeightFormat.Int8.Dequantise!(row, quantised, r);
            for (int c = 0; c < 160; c++)
            {
                // A scale in bf16 is up to 1/128 larger than it must be.
                float largest = Enumerable.Range(c / 32 * 32, 32).Max(i => MathF.Abs((float)matrix[r, i]));
                Assert.InRange(MathF.Abs(row[c] - (float)matrix[r, c]), 0, largest / 127 / 2 * (1 + 1 / 127f));
            }
        }
    }

    [Theory]
    [InlineData(1, 32)]
    [InlineData(16, 96)]
    [InlineData(35, 1120)]
    public void Scales_and_bytes_are_those_of_the_definition(int outputs, int inputs)
    {
        using var backend = new CpuBackend(1);
        Matrix matrix = Matrix.Random(new Random(2), outputs, inputs);
        Tensor quantised = backend.Allocate("int8", WeightFormat.Int8, outputs, inputs);

        WeightFormat.Int8.Quantise!(quantised, backend.Upload(matrix));

        float[] row = new float[inputs];
        for (int r = 0; r < outputs; r++)
        {
            WeightFormat.Int8.Dequantise!(row, quantised, r);
            Assert.Equal(Int8Reference.Row(matrix, r, Int8Reference.Weights).SelectMany(group => group.Integers.Select(i => group.Scale * i)), row);
        }
    }

    [Fact]
    public void A_slice_of_a_quantised_weight_begins_with_a_block_of_rows()
    {
        using var backend = new CpuBackend(1);
        Tensor weight = backend.Upload(Matrix.Random(new Random(5), 40, 64)), quantised = backend.Allocate("int8", WeightFormat.Int8, 40, 64);
        WeightFormat.Int8.Quantise!(quantised, weight);
        float[] expected = new float[64], row = new float[64];
        WeightFormat.Int8.Dequantise!(expected, quantised, 39);
        WeightFormat.Int8.Dequantise!(row, quantised.Slice(32, 8), 7);
        Assert.Equal(expected, row);
        Assert.Contains("rows lie in blocks of 16", Assert.Throws<ArgumentException>(() => quantised.Slice(8, 4)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Groups_of_zeros_tiny_numbers_and_numbers_that_are_none_survive()
    {
        using var backend = new CpuBackend(1);
        Tensor weight = backend.Allocate("w", DType.F32, 4, 32), quantised = backend.Allocate("int8", WeightFormat.Int8, 4, 32);
        weight.Slice(1, 1).Span<float>().Fill(float.Epsilon);
        weight.Slice(2, 1).Span<float>()[5] = float.NaN;
        weight.Slice(3, 1).Span<float>()[31] = float.NegativeInfinity;

        WeightFormat.Int8.Quantise!(quantised, weight);

        float[] row = new float[32];
        WeightFormat.Int8.Dequantise!(row, quantised, 0);
        Assert.All(row, number => Assert.Equal(0, number));
        WeightFormat.Int8.Dequantise!(row, quantised, 1);
        Assert.All(row, number => Assert.InRange(number, 0, float.Epsilon));
        WeightFormat.Int8.Dequantise!(row, quantised, 2);
        Assert.All(row, number => Assert.True(float.IsNaN(number)));
        WeightFormat.Int8.Dequantise!(row, quantised, 3);
        Assert.All(row, number => Assert.True(float.IsNaN(number)));
    }

    [Fact]
    public void Logits_with_int8_weights_are_close_to_those_without_and_the_same_in_a_batch()
    {
        int[][] prompts = [[1, 5, 9, 200, 31], [7], [.. Enumerable.Range(30, 70)]];
        using LoadedModel stored = Load(int8: false), quantised = Load(int8: true);
        IReadOnlyList<LogitsRun.Outcome> plain = new LogitsRun(stored, PrefillMode.Converged).Run(prompts, 4);
        var run = new LogitsRun(quantised, PrefillMode.Converged);
        IReadOnlyList<LogitsRun.Outcome> together = run.Run(prompts, 4);
        for (int p = 0; p < prompts.Length; p++)
        {
            LogitsRun.Outcome alone = run.Run([prompts[p]], 4)[0];
            Assert.Equal(alone.Logits, together[p].Logits);
            Assert.Equal(alone.Greedy, together[p].Greedy);
            double mean = plain[p].Logits.Average();
            double deviation = Math.Sqrt(plain[p].Logits.Average(logit => (logit - mean) * (logit - mean)));
            double error = Math.Sqrt(plain[p].Logits.Zip(alone.Logits, (a, b) => (double)(a - b) * (a - b)).Average());
            // Each weight is off by 0.5 % of its size, activations by nothing beside that; sums of such errors stay far below what tells tokens apart.
            Assert.InRange(error / deviation, 1e-6, 0.05);
        }
    }

    [Fact]
    public void Logits_with_int8_weights_have_the_same_bits_after_a_prompt_in_chunks_and_token_by_token()
    {
        int[] prompt = [.. Enumerable.Range(100, 75)];
        using LoadedModel model = Load(int8: true);
        LogitsRun.Outcome chunks = new LogitsRun(model, PrefillMode.Converged).Run([prompt], 4)[0];
        LogitsRun.Outcome steps = new LogitsRun(model, PrefillMode.Sequential).Run([prompt], 4)[0];
        Assert.Equal(steps.Logits, chunks.Logits);
        Assert.Equal(steps.Greedy, chunks.Greedy);
    }

    [Fact]
    public void Perplexity_with_int8_weights_is_within_a_half_percent()
    {
        using JsonDocument heldOut = JsonDocument.Parse(File.ReadAllText(Path.Combine(NvrtcMachine.Root, "weights", "held-out.json")));
        int[][] windows = [.. heldOut.RootElement.EnumerateArray().Take(4).Select(ids => ids.EnumerateArray().Select(id => id.GetInt32()).ToArray())];

        double stored = Perplexity.Of(demo, PrefillMode.Converged, windows), int8 = Perplexity.Of(demo, PrefillMode.Converged, windows, int8: true);

        Assert.NotEqual(stored, int8);
        Assert.InRange(int8 / stored, 0.995, 1.005);
    }

    [Fact]
    public void Keys_and_values_keep_the_stored_weights_type()
    {
        using LoadedModel quantised = LoadedModel.Load(demo, new() { Device = "cpu", Weights = "int8", MaxSequences = 1 });
        Assert.Equal(DType.BF16, quantised.KvType);
    }

    [Fact]
    public async Task A_name_that_is_no_way_of_keeping_weights_is_refused()
    {
        var error = await Assert.ThrowsAsync<InvalidRequestException>(() => KvEngine.LoadAsync(demo, new() { Weights = "int4" },
            cancellation: TestContext.Current.CancellationToken));
        Assert.Equal("Weights is 'int4'; it must be stored or int8.", error.Message);
    }

    static LoadedModel Load(bool int8) =>
        LoadedModel.Load(demo, new() { Device = "cpu", KvType = "f32", MaxSequences = 4, Weights = int8 ? "int8" : "stored" });
}
