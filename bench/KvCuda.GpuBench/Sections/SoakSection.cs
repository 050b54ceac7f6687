using System.Diagnostics;
using KvCuda.Backends.Cuda;
using KvCuda.Engine;

namespace KvCuda.GpuBench;

/// <summary>
/// Random requests for a while: prompts that begin alike, lengths of all sizes, cancellations in the middle, turns of
/// sessions, the cache cleared now and then; more sequences than the store holds, so that they wait and are preempted. Every
/// token must be the one that a cold run of the prompt alone gave (class consistent promises that bit for bit), and at the end
/// every page is back and the device holds as much memory as it did after the first seconds.
/// </summary>
internal static class SoakSection
{
    const int Answer = 24;

    /// <summary>A prompt and what follows it, from a cold run of it alone.</summary>
    sealed record Case(int[] Prompt, int[] Answer);

    public static void Run(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : new("soak", 512, 6, 8, 2, 64, 1408, 32000);
        int seconds = bench.Options.SoakSeconds, callers = bench.Tiny ? 4 : 24;
        using KvEngine engine = KvEngine.LoadAsync(bench.Models.Folder(shape), new()
        {
            Device = bench.Options.Device, Numerics = "consistent", MaxSequences = bench.Tiny ? 3 : 16, MaxContext = bench.Tiny ? 160 : 1024,
            MaxStepTokens = bench.Tiny ? 32 : 256, PageTokens = 16,
            // Room for about a third of the callers at their longest.
            KvBudgetBytes = (long)(shape.KvBytesKept(Tensors.DType.BF16, shape.Layers) * (bench.Tiny ? 400 : 8000)),
        }).GetAwaiter().GetResult();
        Case[] cases = [.. Cases(engine, bench.Tiny ? 4 : 40, bench.Tiny ? 60 : 700, shape.Vocabulary)];
        engine.ClearCacheAsync().GetAwaiter().GetResult();

        var counts = new Counts();
        var watch = Stopwatch.StartNew();
        Task[] tasks = [.. Enumerable.Range(0, callers).Select(i => Task.Run(() => Caller(engine, cases, i, watch, seconds, counts)))];
        // The engine's first passes load kernels and grow scratch; what comes later must not.
        Thread.Sleep(TimeSpan.FromSeconds(Math.Min(seconds / 2.0, 30)));
        long before = FreeBytes(engine), pages = GC.GetTotalMemory(true);
        Task.WaitAll(tasks);
        engine.ClearCacheAsync().GetAwaiter().GetResult();
        KvStatus status = engine.GetKvStatusAsync().GetAwaiter().GetResult();
        long after = FreeBytes(engine), managed = GC.GetTotalMemory(true) - pages;

        bench.Add(new("soak/requests", $"requests in {seconds} s from {callers} callers", counts.Requests, "requests")
        {
            Note = $"{counts.Cancelled} cancelled, {counts.Turns} turns of sessions, {counts.Tokens} tokens compared, {counts.Cached} prompt tokens found in the cache",
        });
        bench.Add(new("soak/wrong", "tokens that differ from the cold run's", counts.Wrong, "tokens") { Target = new(0, 0, Less: true), Note = counts.First });
        bench.Add(new("soak/leaked-pages", "bytes of pages not free at the end", status.ActiveBytes + status.CachedBytes + status.PinnedBytes, "bytes") { Target = new(0, 0, Less: true) });
        bench.Add(new("soak/leaked-device", "device memory that was free in the middle and is not at the end", Math.Max(0, before - after) / 1048576.0, "MiB") { Target = new(0, 0, Less: true) });
        bench.Add(new("soak/managed", "managed memory, end less middle", managed / 1048576.0, "MiB"));
    }

    static long FreeBytes(KvEngine engine) => engine.Ask(() => ((CudaBackend)engine.Model.Backend).Stream.Context.Memory().Free).GetAwaiter().GetResult();

    // Half of the prompts begin with one of three prefixes.
    static IEnumerable<Case> Cases(KvEngine engine, int count, int longest, int vocabulary)
    {
        var random = new Random(7);
        int[] Tokens(int n) => [.. Enumerable.Range(0, n).Select(_ => random.Next(3, vocabulary))];
        int[][] prefixes = [Tokens(longest / 3), Tokens(longest / 2), Tokens(longest / 8)];
        for (int i = 0; i < count; i++)
        {
            int[] own = Tokens(random.Next(1, longest / 2)), prompt = i % 2 == 0 ? own : [.. prefixes[i / 2 % 3], .. own];
            engine.ClearCacheAsync().GetAwaiter().GetResult();
            yield return new(prompt, [.. Complete(engine, prompt, Answer, CancellationToken.None).GetAwaiter().GetResult().Tokens]);
        }
    }

    static async Task Caller(KvEngine engine, Case[] cases, int number, Stopwatch watch, int seconds, Counts counts)
    {
        var random = new Random(number);
        while (watch.Elapsed.TotalSeconds < seconds)
        {
            Case chosen = cases[random.Next(cases.Length)];
            int length = random.Next(1, Answer + 1);
            switch (random.Next(8))
            {
                case 0:
                    await Cancelled(engine, chosen, random.Next(0, length), counts).ConfigureAwait(false);
                    break;
                case 1:
                    await Turns(engine, chosen, length, counts).ConfigureAwait(false);
                    break;
                case 2 when random.Next(20) == 0:
                    await engine.ClearCacheAsync().ConfigureAwait(false);
                    break;
                default:
                    GenerationResult result = await Complete(engine, chosen.Prompt, length, CancellationToken.None).ConfigureAwait(false);
                    counts.Compare(result.Tokens, chosen.Answer, result.CachedTokens);
                    break;
            }
        }
    }

    static async Task Cancelled(KvEngine engine, Case chosen, int after, Counts counts)
    {
        int seen = 0;
        await foreach (GeneratedPiece _ in engine.GenerateAsync(chosen.Prompt, new() { MaxTokens = Answer, IgnoreEos = true }).ConfigureAwait(false))
        {
            if (seen++ == after)
            {
                break;
            }
        }
        counts.CountCancelled();
    }

    // A conversation that goes back to the middle of its prompt and comes again to where it was.
    static async Task Turns(KvEngine engine, Case chosen, int length, Counts counts)
    {
        await using KvSession session = engine.OpenSession();
        int half = chosen.Prompt.Length / 2;
        counts.Compare(await Turn(session, chosen.Prompt, length).ConfigureAwait(false), chosen.Answer, 0);
        session.RewindTo(half);
        counts.Compare(await Turn(session, chosen.Prompt[half..], length).ConfigureAwait(false), chosen.Answer, 0);
        counts.CountTurns(2);
    }

    static async Task<IReadOnlyList<int>> Turn(KvSession session, int[] prompt, int length)
    {
        IReadOnlyList<int> tokens = [];
        await foreach (GeneratedPiece piece in session.GenerateAsync(prompt, new() { MaxTokens = length, IgnoreEos = true }).ConfigureAwait(false))
        {
            tokens = piece.Result?.Tokens ?? tokens;
        }
        return tokens;
    }

    static async Task<GenerationResult> Complete(KvEngine engine, int[] prompt, int count, CancellationToken cancellation)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in engine.GenerateAsync(prompt, new() { MaxTokens = count, IgnoreEos = true }, cancellation).ConfigureAwait(false))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    sealed class Counts
    {
        readonly Lock gate = new();

        public long Requests { get; private set; }

        public long Cancelled { get; private set; }

        public long Turns { get; private set; }

        public long Tokens { get; private set; }

        public long Cached { get; private set; }

        public long Wrong { get; private set; }

        /// <summary>The first difference, for whoever looks for it.</summary>
        public string First { get; private set; } = "";

        public void Compare(IReadOnlyList<int> tokens, int[] expected, int cached)
        {
            lock (gate)
            {
                Requests++;
                Cached += cached;
                for (int i = 0; i < tokens.Count; i++)
                {
                    Tokens++;
                    if (tokens[i] != expected[i])
                    {
                        Wrong++;
                        First = First.Length > 0 ? First : $"first: token {i} is {tokens[i]}, cold {expected[i]}, {cached} tokens were cached";
                    }
                }
            }
        }

        public void CountCancelled()
        {
            lock (gate)
            {
                Requests++;
                Cancelled++;
            }
        }

        public void CountTurns(int turns)
        {
            lock (gate)
            {
                Turns += turns;
            }
        }
    }
}
