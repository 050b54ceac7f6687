using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Backends.Cpu;
using KvCuda.Backends.Cuda;
using KvCuda.Tensors;
using KvCuda.Tests.Backends.Cuda;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Backends;

/// <summary>The next token: what is drawn is defined, and every backend draws it.</summary>
public sealed class SamplingTests
{
    static readonly SampleRow plain = new() { Temperature = 1, TopP = 1, RepetitionPenalty = 1 };

    static readonly SampleRow[] settings =
    [
        plain, plain with { Temperature = 0 }, plain with { Temperature = 0.3f }, plain with { Temperature = 2, TopK = 5 },
        plain with { TopP = 0.6f }, plain with { Temperature = 3, TopP = 0.97f }, plain with { MinP = 0.2f },
        plain with { TopK = 12, TopP = 0.8f, MinP = 0.01f, Temperature = 1.5f }, plain with { TopK = 700, TopP = 0.99f, Temperature = 5 },
        plain with { Temperature = 0, RepetitionPenalty = 1.7f }, plain with { RepetitionPenalty = 0.5f, TopK = 3 },
        plain with { TopK = 1 }, plain with { TopP = 0 }, plain with { MinP = 1 }, plain with { Temperature = 1e-45f },
        plain with { Temperature = 3.4e38f, TopK = 40, TopP = 0.5f },
    ];

    public static TheoryData<string> Shapes => ["ordinary", "ties", "all equal", "one finite", "masked", "huge", "nearly equal", "falling"];

    // Rows of one kind of logits.
    static float[] Logits(string shape, int vocabulary, Random random)
    {
        float Normal() => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        float[] x = [.. Enumerable.Range(0, vocabulary).Select(_ => 3 * Normal())];
        for (int i = 0; i < vocabulary; i++)
        {
            x[i] = shape switch
            {
                "ties" => MathF.Round(x[i]),
                "all equal" => -2.5f,
                "one finite" => i == vocabulary / 3 ? 7 : float.NegativeInfinity,
                "masked" => i % 7 < 3 ? float.NegativeInfinity : x[i],
                "huge" => 1e38f * x[i] / 3,
                "nearly equal" => 1 + random.Next(3) * 1.2e-7f,
                "falling" => -i * 0.01f,
                _ => x[i],
            };
        }
        return x;
    }

    static int[] Choose(IBackend backend, float[][] logits, SampleRow[] rows, int[] history)
    {
        int vocabulary = logits[0].Length;
        Tensor x = backend.Allocate("logits", DType.F32, rows.Length, vocabulary), seen = backend.Allocate("history", DType.I32, 1, history.Length);
        Tensor tokens = backend.Allocate("tokens", DType.I32, 1, rows.Length);
        Tensor parameters = backend.Allocate("parameters", DType.I32, rows.Length, SampleRow.Words);
        backend.Write(x, MemoryMarshal.AsBytes<float>(logits.SelectMany(row => row).ToArray()));
        backend.Write(seen, MemoryMarshal.AsBytes<int>(history));
        backend.Write(parameters, MemoryMarshal.AsBytes<SampleRow>(rows));
        backend.Sample(tokens, x, parameters, seen);
        int[] chosen = new int[rows.Length];
        backend.Read(MemoryMarshal.AsBytes(chosen.AsSpan()), tokens);
        foreach (Tensor tensor in new[] { x, seen, tokens, parameters })
        {
            backend.Free(tensor.Address);
        }
        return chosen;
    }

    static void Check(IBackend backend, string shape, int[] vocabularies, int rounds)
    {
        foreach (int vocabulary in vocabularies)
        {
            var random = new Random(vocabulary);
            int[] history = [.. Enumerable.Range(0, Math.Min(9, vocabulary))];
            for (int round = 0; round < rounds; round++)
            {
                SampleRow[] rows = [.. settings.Select(row => row with
                {
                    SeedLow = (uint)random.Next(), SeedHigh = (uint)random.Next(), Step = random.Next(),
                    HistoryCount = row.RepetitionPenalty == 1 ? 0 : history.Length,
                })];
                float[][] logits = [.. rows.Select(_ => Logits(shape, vocabulary, random))];
                int[] chosen = Choose(backend, logits, rows, history);
                for (int row = 0; row < rows.Length; row++)
                {
                    int expected = SampleReference.Choose(logits[row], rows[row], rows[row].HistoryCount == 0 ? [] : history);
                    Assert.True(expected == chosen[row],
                        $"{backend.Name}, {shape}, {vocabulary} ids, round {round}, setting {row}: {chosen[row]}, expected {expected}");
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void A_draw_is_the_one_that_the_definition_gives(string shape)
    {
        using CpuBackend backend = new(threads: 2);
        Check(backend, shape, [1, 7, 256, 1000, 5003], rounds: 3);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void A_kernel_draws_what_the_cpu_draws(string shape)
    {
        using CudaBackend backend = CudaBackend.Open(CudaBackendTests.Device, Numerics.Exact);
        Check(backend, shape, [7, 1500], rounds: 1);
    }

    [Fact]
    public void Weights_are_exponentials_in_whole_units()
    {
        for (float x = 0; x > -27; x -= 0.0371f)
        {
            double expected = Math.Exp(x) * SampleRow.Units;
            Assert.InRange(new SampleWeights(2, 1).Of(2 + x), expected * (1 - 1e-6) - 1, expected * (1 + 1e-6) + 1);
            Assert.Equal(SampleReference.Weight(2 + x, 2, 1), new SampleWeights(2, 1).Of(2 + x));
        }
        Assert.Equal(SampleRow.Units, new SampleWeights(2, 1).Of(2));
        Assert.Equal(0, new SampleWeights(2, 1).Of(float.NegativeInfinity));
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cuda")]
    public void A_row_whose_logits_are_no_numbers_gives_no_token_and_leaves_the_others_alone(string device)
    {
        using IBackend backend = device == "cpu" ? new CpuBackend(threads: 1) : CudaBackend.Open(CudaBackendTests.Device, Numerics.Exact);
        var random = new Random(1);
        float[][] logits = [.. Enumerable.Range(0, 10).Select(_ => Logits("ordinary", 600, random))];
        logits[0][599] = float.NaN;
        logits[1][3] = float.NaN;
        logits[2][300] = float.PositiveInfinity;
        logits[3].AsSpan().Fill(float.NegativeInfinity);
        logits[4].AsSpan().Fill(float.NaN);
        SampleRow[] rows = [.. Enumerable.Range(0, 10).Select(i => plain with { Temperature = i % 2, TopK = i < 6 ? 0 : 5 })];
        int[] chosen = Choose(backend, logits, rows, [0]);
        Assert.All(chosen[..5], token => Assert.Equal(-1, token));
        Assert.All(chosen[5..], token => Assert.InRange(token, 0, 599));
    }

    [Fact]
    public void Draws_fall_on_ids_as_often_as_their_probabilities_say()
    {
        using CpuBackend backend = new(threads: 1);
        float[] logits = [0, 1, 2, 3];
        int[] counts = new int[4];
        const int draws = 4096;
        SampleRow[] rows = [.. Enumerable.Range(0, draws).Select(step => plain with { SeedLow = 7, Step = step })];
        foreach (int token in Choose(backend, [.. rows.Select(_ => logits)], rows, [0]))
        {
            counts[token]++;
        }
        double sum = logits.Sum(x => Math.Exp(x));
        for (int token = 0; token < 4; token++)
        {
            double expected = draws * Math.Exp(logits[token]) / sum;
            Assert.InRange(counts[token], expected - 5 * Math.Sqrt(expected), expected + 5 * Math.Sqrt(expected));
        }
    }

    [Fact]
    public void Choosing_allocates_nothing()
    {
        using CpuBackend backend = new(threads: 1);
        Tensor x = backend.Allocate("logits", DType.F32, settings.Length, 5000), tokens = backend.Allocate("tokens", DType.I32, 1, settings.Length);
        Tensor parameters = backend.Allocate("parameters", DType.I32, settings.Length, SampleRow.Words), none = backend.Allocate("history", DType.I32, 1, 1);
        settings.CopyTo(parameters.Span<SampleRow>());
        var random = new Random(2);
        for (int round = 0; round < 3; round++)
        {
            for (int row = 0; row < settings.Length; row++)
            {
                Logits("ordinary", 5000, random).CopyTo(x.Slice(row, 1).Span<float>());
            }
            long before = GC.GetAllocatedBytesForCurrentThread();
            backend.Sample(tokens, x, parameters, none);
            Assert.True(round < 2 || GC.GetAllocatedBytesForCurrentThread() == before, "choosing allocated");
        }
    }
}
