using System.Globalization;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Bench.Engine;

/// <summary>
/// <c>bench ttft</c>: time to the first token of a prompt of 4096 tokens that is not cached at all, cached to 90 %, and to 99 %,
/// as ratios within one run. Targets: at most a fifth, and at most a twentieth. Random weights: the demo model's shape with a longer
/// context, and a Llama of 110 million parameters. Then, for every sharing scheme, what a sequence of 4096 tokens and one of 4097
/// holds beside the formula.
/// </summary>
static class TimeToFirstToken
{
    const int Prompt = 4096;

    public static async Task<int> Run(string[] args)
    {
        if (args.Contains("--help"))
        {
            Console.WriteLine("bench ttft [demo] [110m] [schemes]    default: all three");
            return 0;
        }
        bool all = args.Length == 0;
        if (all || args.Contains("demo"))
        {
            using var model = new BenchModel(dim: 128, layers: 8, heads: 4, kvHeads: 2, mlp: 384, vocabulary: 2048, context: 8192);
            await Measure("demo-sized", model, repeats: 5).ConfigureAwait(false);
        }
        if (all || args.Contains("110m"))
        {
            using var model = new BenchModel(dim: 768, layers: 12, heads: 12, kvHeads: 12, mlp: 2048, vocabulary: 32000, context: 8192);
            await Measure("110M", model, repeats: 1).ConfigureAwait(false);
        }
        if (all || args.Contains("schemes"))
        {
            Schemes();
        }
        return 0;
    }

    static async Task Measure(string name, BenchModel model, int repeats)
    {
        KvEngine engine = await KvEngine.LoadAsync(model.Folder, new() { Device = "cpu", PageTokens = 16, MaxSequences = 4, KvBudgetBytes = 1L << 30 })
            .ConfigureAwait(false);
        await using (engine.ConfigureAwait(false))
        {
            int vocabulary = engine.Model.Config.Vocabulary, seed = 1;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{name}: {model.Parameters / 1e6:F1} M parameters, prompt of {Prompt} tokens, {engine.Device}; median of {repeats}"));
            await First(engine, Tokens(200, vocabulary, seed++)).ConfigureAwait(false); // compiles and warms up
            int[] common = Tokens(Prompt, vocabulary, seed++);
            double cold = 0;
            (string, double, double)[] rows = [("cold", 0, 1), ("90 % cached", 0.9, 0.2), ("99 % cached", 0.99, 0.05)];
            foreach ((string what, double share, double target) in rows)
            {
                List<(double Milliseconds, int Cached)> runs = [];
                for (int i = 0; i < repeats; i++)
                {
                    int[] prompt = [.. common.Take((int)(share * Prompt)), .. Tokens(Prompt - (int)(share * Prompt), vocabulary, seed++)];
                    if (share == 0)
                    {
                        await engine.ClearCacheAsync().ConfigureAwait(false);
                        prompt = common; // so that the last of these leaves it in the cache
                    }
                    runs.Add(await First(engine, prompt).ConfigureAwait(false));
                }
                double median = runs.Select(run => run.Milliseconds).Order().ElementAt(repeats / 2);
                cold = share == 0 ? median : cold;
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"  {what,-12} {runs[0].Cached,5} tokens found   {median,9:F1} ms   ratio {median / cold:F4}{(share > 0 ? $"   target {target}" : "")}"));
            }
        }
    }

    static async Task<(double Milliseconds, int Cached)> First(KvEngine engine, int[] prompt)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in engine.GenerateAsync(prompt, new() { MaxTokens = 1, IgnoreEos = true }).ConfigureAwait(false))
        {
            result = piece.Result;
        }
        return (result!.TimeToFirstToken.TotalMilliseconds, result.CachedTokens);
    }

    static int[] Tokens(int count, int vocabulary, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(1, vocabulary))];
    }

    static void Schemes()
    {
        const int layers = 12, kvHeads = 2, headDim = 32, pageTokens = 64;
        Console.WriteLine($"sharing schemes of {layers} layers, {kvHeads} kv heads of {headDim}, bf16, pages of {pageTokens} tokens; bytes held at {Prompt} and {Prompt + 1} tokens");
        Console.WriteLine($"  {"scheme",-22} {"owners",6} {"B/token",8} {"formula",8} {"held",10} {"held",10} {"waste",8} {"formula",8}");
        foreach (string scheme in (string[])["standard", "cla:2", "pizza-middle:4", "sandwich-middle:4", "lasagna-bottom:4", "lckv:2", "mlkv:3", "yoco:256", "mixattention:256"])
        {
            LayerSharing sharing = LayerSharing.Parse(scheme, layers, 256);
            var layout = new KvLayout(sharing, kvHeads, headDim, DType.BF16, pageTokens);
            var store = new KvCuda.KvStore.KvStore(layout, 1L << 30);
            KvSequence s = store.Open();
            Grow(Prompt);
            long held = store.BytesHeld(s);
            Grow(1);
            long more = store.BytesHeld(s);
            // K and V, 2 bytes a number, of the owners alone; one token more costs each class a page, of which a token is used.
            long perToken = 2L * kvHeads * headDim * 2 * sharing.Owners.Count;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"  {scheme,-22} {sharing.Owners.Count,6} {layout.BytesPerToken,8} {perToken,8} {held,10} {more,10} {more - held - perToken,8} {(pageTokens - 1) * perToken,8}"));

            void Grow(int tokens)
            {
                for (int done = 0; done < tokens; done += 256)
                {
                    int chunk = Math.Min(256, tokens - done);
                    store.TryReserve(s, chunk);
                    store.Advance(s, new int[chunk]);
                }
            }
        }
    }
}
