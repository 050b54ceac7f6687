using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>
/// The study's question on this device: how many tokens per second at the largest batch that a fixed budget of keys and
/// values lets in, with all, half and a quarter of the layers owning any; and what <see cref="SharingLaw"/> expects.
/// </summary>
internal static class SharingSection
{
    const DType Type = DType.BF16;

    public static void Run(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : ModelShape.Medium;
        int context = bench.Tiny ? 20 : 1536, steps = bench.Tiny ? 1 : 16, length = context + (3 * steps) + 16;
        double[] budgets = bench.Tiny ? [0.5] : [0.5, 0.25, 1, 2, 4]; // the one with the target first
        string?[] maps = bench.Tiny ? [null, "lasagna-bottom:2"] : [null, "lasagna-bottom:11", "lasagna-bottom:6"];
        double weights = shape.Parameters() * Type.Bytes();
        foreach (double budget in budgets)
        {
            (double Tokens, double Overhead, int Sequences) standard = default;
            foreach (string? map in maps)
            {
                int owners = bench.Models.Owners(shape, map);
                double gain = (double)shape.Layers / owners;
                int sequences = Math.Max(1, (int)(budget * weights / (length * shape.KvBytesKept(Type, owners))));
                sequences = bench.Tiny ? Math.Min(sequences, 2 * (int)gain) : sequences;
                double tokens = TokensPerSecond(bench, shape, map, sequences, context, length, steps);
                double visible = context + 3 + (1.5 * steps), kv = sequences * visible * shape.KvBytesRead(Type);
                if (map is null)
                {
                    double bandwidth = bench.Ceilings.ReadBytesPerSecond;
                    double overhead = bandwidth > 0 ? SharingLaw.Overhead(sequences / tokens, weights, kv, bandwidth) : 0;
                    standard = (tokens, overhead, sequences);
                    bench.Add(new($"sharing/{budget}/1", $"budget {budget} x weights, every layer owns: {sequences} sequences", tokens, "tokens/s")
                    {
                        Note = $"fixed cost of a step o = {overhead:F2} of the weights' time",
                    });
                    continue;
                }
                double m = standard.Sequences * visible * shape.KvBytesRead(Type) / weights;
                double expected = SharingLaw.Ratio((double)sequences / standard.Sequences, m, standard.Overhead), ratio = tokens / standard.Tokens;
                bench.Add(new($"sharing/{budget}/{owners}", $"budget {budget} x weights, {owners} of {shape.Layers} layers own: {sequences} sequences", tokens, "tokens/s")
                {
                    Share = ratio / expected, Of = "law", Target = budget == 0.5 ? Targets.Sharing : null,
                    Note = $"{map}: {ratio:F2} times the standard map, the law says {expected:F2}; {(double)sequences / standard.Sequences:F2} times the sequences",
                });
            }
        }
    }

    static double TokensPerSecond(Bench bench, ModelShape shape, string? map, int sequences, int context, int length, int steps)
    {
        using LoadedModel model = bench.Models.Load(shape, sequences, length, sharing: map);
        using var loop = new DecodeLoop(model, sequences, context);
        return sequences * 1e6 / loop.Measure(steps).Wall;
    }
}
