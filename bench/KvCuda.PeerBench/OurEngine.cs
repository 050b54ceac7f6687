using System.Diagnostics;
using KvCuda.Engine;
using KvCuda.Model;

namespace KvCuda.PeerBench;

/// <summary>
/// KvCuda as a service embeds it: prompts, decode steps and batches go through <see cref="KvEngine.GenerateAsync(IReadOnlyList{int},
/// GenerateOptions?, CancellationToken)"/>. Only long contexts, which would take minutes to compute, are filled by hand
/// (<see cref="StepLoop"/>).
/// </summary>
internal sealed class OurEngine : IContender
{
    readonly KvEngine engine;
    StepLoop? steps; // of one sequence, filled up to a context
    int filled;
    int seed;

    /// <param name="folder">a Hugging Face folder</param>
    /// <param name="options">as a user sets them</param>
    public OurEngine(string folder, KvEngineOptions options)
    {
        engine = KvEngine.LoadAsync(folder, options).GetAwaiter().GetResult();
    }

    public string Describe() => engine.Device;

    public (double Prefill, double Decode) Generate(int[] prompt, int count)
    {
        GenerationResult result = Complete(prompt, count + 1, null).GetAwaiter().GetResult();
        return (prompt.Length / result.PrefillTokensPerSecond, count / Math.Max(result.DecodeTokensPerSecond, 1e-9));
    }

    // On the engine's thread: after a request's end it looks for work once more, and the batch is its own.
    public double DecodeAt(int context, int count) => engine.Ask(() =>
    {
        StepLoop loop = At(context);
        loop.Seconds(2);
        loop.Rewind(context);
        return loop.Seconds(count).Sum();
    }).GetAwaiter().GetResult();

    StepLoop At(int context)
    {
        if (steps is null || filled != context)
        {
            steps?.Dispose();
            steps = new(engine.Model, 1);
            steps.Grow(filled = context);
        }
        steps.Rewind(context);
        return steps;
    }

    public double DecodeTogether(int sequences, int prompt, int count)
    {
        // From the moment when the last of them has its first token until the first of them ends, all run together.
        var first = new long[sequences];
        var last = new long[sequences];
        var ran = new int[sequences];
        int longest = count + 16;
        Task.WhenAll(Enumerable.Range(0, sequences).Select(s => Task.Run(async () =>
        {
            int[] ids = Prompts.Random(s, prompt, engine.Model.Config.Vocabulary);
            var options = new GenerateOptions { MaxTokens = longest, IgnoreEos = true, Salt = Salt() };
            await foreach (GeneratedPiece piece in engine.GenerateAsync(ids, options).ConfigureAwait(false))
            {
                if (piece.Token is null)
                {
                    continue;
                }
                last[s] = Stopwatch.GetTimestamp();
                first[s] = ran[s]++ == 0 ? last[s] : first[s];
            }
        }))).GetAwaiter().GetResult();
        double together = Stopwatch.GetElapsedTime(first.Max(), last.Min()).TotalSeconds;
        // A sequence that began earlier by some steps ends earlier by as many.
        double perStep = Enumerable.Range(0, sequences)
            .Average(s => Stopwatch.GetElapsedTime(first[s], last[s]).TotalSeconds / (longest - 1));
        return together > 0 ? perStep * count : double.NaN;
    }

    public float[] Logits(int[] prompt) =>
        engine.Ask(() => new LogitsRun(engine.Model, PrefillMode.Converged).Run([prompt], 1)[0].Logits).GetAwaiter().GetResult();

    public (double Step, double Streamed)? Allocations()
    {
        const int count = 64;
        int[] prompt = Prompts.Random(7, 64, engine.Model.Config.Vocabulary);
        double step = engine.Ask(() => At(Math.Min(256, engine.Model.MaxContext - (2 * count) - 1)).AllocatedPerStep(count)).GetAwaiter().GetResult();
        Complete(prompt, count + 1, null).GetAwaiter().GetResult();
        // Bytes of the second half of a generation, where nothing grows any more that was not there before.
        long start = 0, end = 0;
        Complete(prompt, count + 1, n =>
        {
            if (n == count / 2)
            {
                start = GC.GetTotalAllocatedBytes(precise: true);
            }
            if (n == count)
            {
                end = GC.GetTotalAllocatedBytes(precise: true);
            }
        }).GetAwaiter().GetResult();
        return (step, (end - start) / (count / 2.0));
    }

    /// <summary>Greedy steps at a length, and the bytes of one token, of a model already at that length.</summary>
    public long KvBytesPerToken => engine.KvBytesPerToken;

    public void Dispose() => engine.Dispose();

    async Task<GenerationResult> Complete(int[] prompt, int count, Action<int>? observe)
    {
        GenerationResult? result = null;
        int n = 0;
        var options = new GenerateOptions { MaxTokens = count, IgnoreEos = true, Salt = Salt() };
        await foreach (GeneratedPiece piece in engine.GenerateAsync(prompt, options).ConfigureAwait(false))
        {
            observe?.Invoke(++n);
            result = piece.Result ?? result;
        }
        return result!;
    }

    // Nothing is found in the cache: every prompt is computed.
    string Salt() => $"{Interlocked.Increment(ref seed)}";
}
