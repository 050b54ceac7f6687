using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.Model;

namespace KvCuda.GpuBench;

/// <summary>The same work in class fast and in class consistent.</summary>
internal static class ClassSection
{
    public static void Run(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : ModelShape.Medium;
        foreach (int sequences in bench.Tiny ? [1] : new[] { 1, 32, 128 })
        {
            double[] tokens = [.. Both.Select(numerics => Decode(bench, shape, sequences, numerics))];
            bench.Add(new($"classes/decode/{sequences}", $"{shape.Name}, decode of {sequences}: consistent over fast", tokens[1] / tokens[0], "x")
            {
                Note = $"{Markdown.Number(tokens[0])} tokens/s fast, {Markdown.Number(tokens[1])} consistent",
            });
        }
        int prompt = bench.Tiny ? 70 : 2048;
        double[] prefill = [.. Both.Select(numerics => Prefill(bench, shape, prompt, numerics))];
        bench.Add(new($"classes/prefill/{prompt}", $"{shape.Name}, a prompt of {prompt}: consistent over fast", prefill[1] / prefill[0], "x")
        {
            Note = $"{Markdown.Number(prefill[0])} tokens/s fast, {Markdown.Number(prefill[1])} consistent",
        });
    }

    static Numerics[] Both => [Numerics.Fast, Numerics.Consistent];

    static double Decode(Bench bench, ModelShape shape, int sequences, Numerics numerics)
    {
        int context = bench.Tiny ? 9 : 512, steps = bench.Tiny ? 1 : 24;
        using LoadedModel model = bench.Models.Load(shape, sequences, context + (3 * steps) + 16, numerics: numerics);
        using var loop = new DecodeLoop(model, sequences, context);
        return sequences * 1e6 / loop.Measure(steps).Wall;
    }

    static double Prefill(Bench bench, ModelShape shape, int prompt, Numerics numerics)
    {
        using LoadedModel model = bench.Models.Load(shape, 1, prompt + 8, rows: prompt, numerics: numerics);
        var run = new LogitsRun(model, PrefillMode.Converged);
        var random = new Random(1);
        int[][] prompts = [[.. Enumerable.Range(0, prompt).Select(_ => random.Next(3, shape.Vocabulary))]];
        return prompt / DecodeSection.Seconds(() => run.Run(prompts, 1));
    }
}
