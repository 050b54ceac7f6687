using System.Diagnostics;
using System.Globalization;
using KvCuda.Backends.Cpu;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Bench.Cpu;

/// <summary>
/// <c>bench products [ROWS:INPUTS:OUTPUTS ...]</c>: the CPU backend's products alone, every instruction set of this processor in turns, weights
/// of bf16 and int8. Weights rotate through more memory than caches hold, as layers do. Medians of the rounds (smallest - largest).
/// </summary>
static class Products
{
    const int Rounds = 9;
    const double Seconds = 0.08;      // of a turn
    const long Rotation = 512L << 20; // bytes of weights

    static readonly string[] standard = ["1:768:2048", "1:2048:5632", "1:5632:2048", "8:768:2048", "8:2048:5632", "512:768:2048", "512:2048:5632"];

    public static int Run(string[] shapes)
    {
        InstructionSet[] sets = [.. Enum.GetValues<InstructionSet>().Where(set => set.IsAvailable())];
        Console.WriteLine("| rows x inputs x outputs | weights | instructions | us | weights, GB/s | GFLOP/s |");
        Console.WriteLine("|---|---|---|--:|--:|--:|");
        foreach (string shape in shapes.Length > 0 ? shapes : standard)
        {
            if (shape.Split(':') is not [string r, string i, string o] || !int.TryParse(r, out int rows) || !int.TryParse(i, out int inputs)
                || !int.TryParse(o, out int outputs) || rows < 1 || inputs < 1 || outputs < 1)
            {
                Console.Error.WriteLine($"'{shape}' is no shape; it must be ROWS:INPUTS:OUTPUTS, such as 8:2048:5632.");
                return 2;
            }
            Measure(sets, WeightFormat.BF16, rows, inputs, outputs);
            if (inputs % Int8Layout.Group == 0)
            {
                Measure(sets, WeightFormat.Int8, rows, inputs, outputs);
            }
        }
        return 0;
    }

    static void Measure(InstructionSet[] sets, WeightFormat format, int rows, int inputs, int outputs)
    {
        using var memory = new CpuBackend(0, InstructionSets.Best);
        Tensor[] weights = Weights(memory, format, inputs, outputs);
        Tensor x = memory.Allocate("x", DType.F32, rows, inputs), y = memory.Allocate("y", DType.F32, rows, outputs);
        Fill(x.Span<float>(), new Random(1));
        CpuBackend[] backends = [.. sets.Select(set => new CpuBackend(0, set))];
        double[][] times = [.. sets.Select(_ => new double[Rounds])];
        for (int round = -1; round < Rounds; round++)
        {
            for (int set = 0; set < sets.Length; set++)
            {
                double time = Turn(backends[set], y, x, weights);
                if (round >= 0) // the first only warms up
                {
                    times[set][round] = time;
                }
            }
        }
        for (int set = 0; set < sets.Length; set++)
        {
            Array.Sort(times[set]);
            double time = times[set][Rounds / 2];
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {rows} x {inputs} x {outputs} | {format.Name} | {sets[set].Name()} | {time * 1e6:F0} ({times[set][0] * 1e6:F0} - {times[set][^1] * 1e6:F0}) | " +
                $"{weights[0].Bytes / time * 1e-9:F1} | {2.0 * rows * inputs * outputs / time * 1e-9:F0} |"));
            backends[set].Dispose();
        }
    }

    // Seconds of one product.
    static double Turn(CpuBackend backend, in Tensor y, in Tensor x, Tensor[] weights)
    {
        long start = Stopwatch.GetTimestamp();
        int count = 0;
        do
        {
            backend.MatMul(y, x, weights[count++ % weights.Length]);
        }
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < Seconds);
        return Stopwatch.GetElapsedTime(start).TotalSeconds / count;
    }

    static Tensor[] Weights(CpuBackend memory, WeightFormat format, int inputs, int outputs)
    {
        Tensor bf16 = memory.Allocate("weight", DType.BF16, outputs, inputs);
        var row = new float[inputs];
        var random = new Random(2);
        for (int o = 0; o < outputs; o++)
        {
            Fill(row, random);
            Span<ushort> numbers = bf16.Slice(o, 1).Span<ushort>();
            for (int i = 0; i < inputs; i++)
            {
                numbers[i] = BF16.FromSingle(row[i]);
            }
        }
        var weights = new Tensor[(int)Math.Clamp(Rotation / format.Bytes(outputs, inputs), 1, 64)];
        for (int copy = 0; copy < weights.Length; copy++)
        {
            weights[copy] = memory.Allocate("weight", format, outputs, inputs);
            if (format.Quantise is { } quantise)
            {
                quantise(weights[copy], bf16);
            }
            else
            {
                memory.CopyBytes(weights[copy].Address, bf16.Address, bf16.Bytes);
            }
        }
        return weights;
    }

    static void Fill(Span<float> numbers, Random random)
    {
        foreach (ref float number in numbers)
        {
            number = random.NextSingle() - 0.5f;
        }
    }
}
