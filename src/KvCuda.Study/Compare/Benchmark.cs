// The benchmarks of `kvcuda bench` and `compare`: small pieces of the host's path and whole steps, each a few milliseconds.
using System.Diagnostics;
using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Text;

namespace KvCuda.Study;

/// <summary>A benchmark: an operation that is run many times.</summary>
/// <param name="Name">the same from build to build; one whose work changes gets another name</param>
/// <param name="About">what one operation is</param>
/// <param name="Run">one operation</param>
internal sealed record Benchmark(string Name, string About, Action Run)
{
    const double SampleSeconds = 0.03;

    int repeats;

    /// <summary>Microseconds of one operation: a sample of about 30 ms.</summary>
    public double Sample()
    {
        if (repeats == 0)
        {
            // Compiled, buffers grown; then as many operations as fill a sample.
            long warm = Stopwatch.GetTimestamp();
            int calls = 0;
            while (calls < 3 || Stopwatch.GetElapsedTime(warm).TotalSeconds < 0.15)
            {
                Run();
                calls++;
            }
            repeats = Math.Max(1, (int)(SampleSeconds / (Stopwatch.GetElapsedTime(warm).TotalSeconds / calls)));
        }
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < repeats; i++)
        {
            Run();
        }
        return Stopwatch.GetElapsedTime(start).TotalMicroseconds / repeats;
    }

    /// <summary>Bytes allocated on the managed heap, by any thread, per operation: the least of three counts.</summary>
    public double Allocated()
    {
        double least = double.MaxValue;
        for (int round = 0; round < 3; round++)
        {
            const int calls = 16;
            long before = GC.GetTotalAllocatedBytes(precise: true);
            for (int i = 0; i < calls; i++)
            {
                Run();
            }
            least = Math.Min(least, (GC.GetTotalAllocatedBytes(precise: true) - before) / (double)calls);
        }
        return least;
    }
}

/// <summary>All benchmarks over one model, opened once.</summary>
internal sealed class BenchmarkSet : IDisposable
{
    readonly LoadedModel model;
    readonly List<IDisposable> open = [];

    public IReadOnlyList<Benchmark> All { get; }

    /// <param name="folder">a model folder; its tokenizer is measured if it has one</param>
    /// <param name="threads">of the CPU backend</param>
    public BenchmarkSet(string folder, int threads)
    {
        model = LoadedModel.Load(folder, new()
        {
            Device = "cpu", Threads = threads, NumericsClass = Numerics.Fast, MaxSequences = 8, MaxStepTokens = 256, KvBudgetBytes = 64L << 20,
            MaxContext = Math.Min(256, Weights.ModelConfig.Load(folder).MaxPositions),
        });
        List<Benchmark> all = [.. Steps(), .. Prompts(), Product(), Attention(folder, threads), .. Sampling(), Store()];
        if (File.Exists(Path.Combine(folder, "tokenizer.json")))
        {
            all.AddRange(Tokens(Tokenizer.Load(folder)));
        }
        All = all;
    }

    IEnumerable<Benchmark> Steps()
    {
        foreach (int batch in new[] { 1, 8 })
        {
            StepLoop? loop = null;
            int context = model.MaxContext / 2;
            yield return new($"decode-step/{batch}", $"a decode step of {batch} sequence{(batch > 1 ? "s" : "")} of {context} tokens", () =>
            {
                loop ??= Grown(batch, context);
                if (loop.Length >= model.MaxContext - 1)
                {
                    loop.Rewind(context);
                }
                loop.Step();
            });
        }
    }

    StepLoop Grown(int batch, int context)
    {
        var loop = new StepLoop(model, batch);
        open.Add(loop);
        loop.Grow(context);
        return loop;
    }

    IEnumerable<Benchmark> Prompts()
    {
        var runner = new StepRunner(model);
        open.Add(runner);
        int tokens = Math.Min(128, model.MaxContext - 2);
        int[] ids = Study.Prompts.Random(1, tokens, model.Config.Vocabulary);
        yield return new($"prompt/{tokens}", $"a prompt of {tokens} tokens to its first token", () =>
        {
            KvSequence sequence = model.Store.Open();
            runner.Prompt(sequence, ids, PrefillMode.Converged);
            model.Store.Close(sequence);
        });
    }

    IEnumerable<Benchmark> Sampling()
    {
        const int vocabulary = 32_000;
        Tensor logits = model.Backend.Allocate("bench logits", DType.F32, 1, vocabulary);
        byte[] numbers = RandomBytes.Of(DType.F32, vocabulary);
        var sampler = new Sampler(model.Backend, 1, vocabulary);
        open.Add(sampler);
        (string, SampleRow)[] rows =
        [
            ("greedy", Sampler.Greedy),
            ("drawn", new() { Temperature = 0.8f, TopP = 0.95f, TopK = 40, RepetitionPenalty = 1, SeedLow = 1 }),
        ];
        foreach ((string name, SampleRow row) in rows)
        {
            yield return new($"sample-{name}/{vocabulary}", $"one token out of {vocabulary} logits, {name}", () =>
            {
                model.Backend.Write(logits, numbers);
                sampler.Clear();
                sampler.Add(row);
                sampler.Choose(logits);
            });
        }
    }

    Benchmark Product()
    {
        const int inputs = 1024, outputs = 2048;
        Tensor x = model.Backend.Allocate("bench x", DType.F32, 1, inputs), y = model.Backend.Allocate("bench y", DType.F32, 1, outputs);
        Tensor weights = model.Backend.Allocate("bench weights", DType.BF16, outputs, inputs);
        model.Backend.Write(x, RandomBytes.Of(DType.F32, inputs));
        model.Backend.Write(weights, RandomBytes.Of(DType.BF16, inputs * outputs));
        return new($"product/1x{inputs}x{outputs}", "one row by a bf16 matrix, in cache", () => model.Backend.MatMul(y, x, weights));
    }

    // One layer over a context, with a batch and pages of its own that no other benchmark touches.
    Benchmark Attention(string folder, int threads)
    {
        int context = Math.Min(1024, Weights.ModelConfig.Load(folder).MaxPositions) - 4;
        LoadedModel own = LoadedModel.Load(folder, new() { Device = "cpu", Threads = threads, MaxSequences = 1, MaxStepTokens = 16, KvBudgetBytes = 64L << 20 });
        var loop = new StepLoop(own, 1);
        open.AddRange([loop, own]);
        loop.Grow(context);
        loop.Step();
        Tensor q = own.Backend.Allocate("bench q", DType.F32, 1, own.Config.QuerySize), y = own.Backend.Allocate("bench y", DType.F32, 1, own.Config.QuerySize);
        own.Backend.Write(q, RandomBytes.Of(DType.F32, own.Config.QuerySize));
        KvView kv = own.Memory.ViewOf(own.Sharing.Owners[0], sliding: false);
        BatchRows rows = own.Memory.Batch.Rows;
        var mask = new AttentionMask(own.Config.AttentionScale);
        return new($"attention/{context}", $"one layer's attention of one row over {context} tokens", () => own.Backend.Attend(y, q, kv, rows, mask));
    }

    // The bookkeeping of a step alone: reserve and accept a token in 64 sequences.
    static Benchmark Store()
    {
        var layout = new KvLayout(LayerSharing.Parse("standard", 24), kvHeads: 2, headDim: 64, DType.BF16, pageTokens: 64);
        var store = new KvStore.KvStore(layout, 1L << 30);
        KvSequence[] sequences = [.. Enumerable.Range(0, 64).Select(_ => store.Open())];
        int[] token = [7];
        return new("store-step/64", "a token reserved and accepted in 64 sequences", () =>
        {
            foreach (KvSequence sequence in sequences)
            {
                if (sequence.Length >= 1024)
                {
                    store.Truncate(sequence, 512);
                }
                store.TryReserve(sequence, 1);
                store.Advance(sequence, token);
            }
            store.TakeCopies();
        });
    }

    static IEnumerable<Benchmark> Tokens(Tokenizer tokenizer)
    {
        string text = string.Concat(Enumerable.Repeat("The whale, as the sailors say, is a fish; and 1,984 of them don't agree. ", 40));
        int[] ids = [.. tokenizer.EncodeToIds(text)];
        yield return new("encode", $"{text.Length} characters to ids", () => tokenizer.EncodeToIds(text));
        yield return new("decode-text", $"{ids.Length} ids to text", () => tokenizer.Decode(ids));
    }

    /// <summary>Verbs that a decode step calls.</summary>
    public IReadOnlyList<(string Verb, long Count)> VerbsPerStep()
    {
        using var loop = new StepLoop(model, 1);
        loop.Grow(32);
        loop.Step();
        Dictionary<string, long> before = model.Backend.Counters.Verbs().ToDictionary(pair => pair.Name, pair => pair.Count);
        loop.Step();
        return [.. model.Backend.Counters.Verbs().Select(pair => (pair.Name, pair.Count - before.GetValueOrDefault(pair.Name))).Where(pair => pair.Item2 > 0)];
    }

    /// <summary>Bytes that a decode step must read of weights, and of keys and values per token.</summary>
    public (double Weights, double KvPerToken) Bytes => (SpeedStudy.StepBytes(model.Config, model.Sharing, model.KvType.Bytes()), model.Layout.BytesPerToken);

    public void Dispose()
    {
        open.ForEach(one => one.Dispose());
        model.Dispose();
    }
}
