using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>One sequence: what a person waits for. Bound by reading the weights once per token.</summary>
internal static class DecodeSection
{
    const DType Type = DType.BF16;

    public static void Run(Bench bench)
    {
        // The one with the first target comes first.
        ModelShape[] shapes = bench.Tiny ? [ModelShape.Tiny] : [ModelShape.Medium, ModelShape.Large, ModelShape.Small];
        foreach (ModelShape shape in shapes)
        {
            Steps(bench, shape);
        }
        Streamed(bench, shapes[0]);
    }

    static void Steps(Bench bench, ModelShape shape)
    {
        int context = bench.Tiny ? 9 : 128, steps = bench.Tiny ? 2 : 128;
        using (LoadedModel model = bench.Models.Load(shape, 1, context + (3 * steps) + 16))
        {
            using var loop = new DecodeLoop(model, 1, context);
            StepTimes times = loop.Measure(steps);
            // From the first measured step to the last the sequence grows.
            double visible = (context + 3 + (1.5 * steps)) * shape.KvBytesRead(Type);
            double bytes = (shape.Parameters() * Type.Bytes()) + visible;
            double share = bench.Ceilings.CopyBytesPerSecond > 0 ? bytes / (times.Wall * 1e-6) / bench.Ceilings.CopyBytesPerSecond : double.NaN;
            bench.Add(new($"decode/{shape.Name}/1", $"{shape.Name}, after {context} tokens", 1e6 / times.Wall, "tokens/s")
            {
                Microseconds = times.Wall, Bytes = bytes, Share = share, Of = "copy", Target = Targets.Decode(shape.Name),
                Note = $"host {Markdown.Number(times.Host)} us of work, {Markdown.Number(times.Exposed)} us exposed",
            });
            bench.Add(new($"decode/{shape.Name}/1/device", $"{shape.Name}, the device's part of that step", times.Device, "us")
            {
                Microseconds = times.Device, Bytes = bytes,
            });
        }
        if (shape != ModelShape.Large)
        {
            Prefill(bench, shape);
        }
    }

    static void Prefill(Bench bench, ModelShape shape)
    {
        int prompt = bench.Tiny ? 24 : 2048;
        using LoadedModel model = bench.Models.Load(shape, 1, prompt + 8, rows: prompt);
        var run = new LogitsRun(model, PrefillMode.Converged);
        var random = new Random(1);
        int[][] prompts = [[.. Enumerable.Range(0, prompt).Select(_ => random.Next(3, shape.Vocabulary))]];
        double seconds = Seconds(() => run.Run(prompts, 1));
        bench.Add(new($"prefill/{shape.Name}/{prompt}", $"{shape.Name}, a prompt of {prompt} tokens, to the first token", prompt / seconds, "tokens/s")
        {
            Microseconds = seconds * 1e6,
            Flops = (2.0 * (shape.Parameters() - ((double)shape.Dim * shape.Vocabulary)) * prompt)
                + (2.0 * prompt * prompt * shape.Layers * shape.Queries),
        });
    }

    // As a program that embeds the engine sees it: every token awaited on another thread.
    static void Streamed(Bench bench, ModelShape shape)
    {
        int prompt = bench.Tiny ? 9 : 128, count = bench.Tiny ? 4 : 256;
        using KvEngine engine = KvEngine.LoadAsync(bench.Models.Folder(shape), new()
        {
            Device = bench.Options.Device, MaxSequences = 1, MaxContext = prompt + count + 8, KvBudgetBytes = bench.Tiny ? 4 << 20 : 256 << 20,
        }).GetAwaiter().GetResult();
        var random = new Random(1);
        GenerationResult result = null!;
        for (int i = 0; i < 2; i++)
        {
            int[] tokens = [.. Enumerable.Range(0, prompt).Select(_ => random.Next(3, shape.Vocabulary))];
            result = Complete(engine, tokens, count).GetAwaiter().GetResult();
        }
        bench.Add(new($"decode/{shape.Name}/1/streamed", $"{shape.Name}, streamed through KvEngine", result.DecodeTokensPerSecond, "tokens/s")
        {
            Note = $"first token after {Markdown.Number(result.TimeToFirstToken.TotalMilliseconds)} ms",
        });
    }

    static async Task<GenerationResult> Complete(KvEngine engine, int[] prompt, int count)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in engine.GenerateAsync(prompt, new() { MaxTokens = count, IgnoreEos = true }).ConfigureAwait(false))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    /// <summary>The median of three, after a first run that is not counted.</summary>
    public static double Seconds(Action work)
    {
        work();
        double[] times = new double[3];
        for (int i = 0; i < times.Length; i++)
        {
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            work();
            times[i] = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        Array.Sort(times);
        return times[1];
    }
}
