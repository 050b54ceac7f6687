using System.Globalization;
using System.Text.Json;
using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tests.Engine;
using KvCuda.Tests.Kernels;

namespace KvCuda.Tests.Models;

/// <summary>The trained models of weights/ say what the recipe that trained them measured: expected.json in their folders.</summary>
public sealed class PerplexityTests
{
    // Both compute in f32, in another order: 1e-6 of a logit each, and far less in a mean over 3,072 predictions.
    const double RelativeTolerance = 1e-4, LogitTolerance = 2e-3;

    // The pass in which bf16 keys settle hangs on single roundings; the mean over 12 prompts moves little.
    const double PassesTolerance = 1.5;

    static readonly string weights = Path.Combine(NvrtcMachine.Root, "weights");

    public static TheoryData<string, string> ModelsAndModes()
    {
        TheoryData<string, string> data = [];
        foreach (string model in Models())
        {
            foreach (string mode in (string[])["sequential", "converged", "iterative:7+2"])
            {
                data.Add(model, mode);
            }
        }
        return data;
    }

    public static TheoryData<string> EveryModel() => [.. Models()];

    [Theory]
    [MemberData(nameof(ModelsAndModes))]
    public void Perplexity_is_the_recipes_in_every_prefill_mode(string model, string mode)
    {
        using JsonDocument expected = Expected(model);
        // Converged is the fixed point, so what sequential gives.
        double recipes = expected.RootElement.GetProperty("perplexity")
            .GetProperty(mode == "converged" ? "sequential" : mode).GetDouble();

        double ours = Perplexity.Of(Path.Combine(weights, model), PrefillMode.Parse(mode), HeldOut());

        Assert.True(Math.Abs(ours / recipes - 1) < RelativeTolerance,
            string.Create(CultureInfo.InvariantCulture, $"{model}, {mode}: perplexity {ours:F4}, the recipe measured {recipes:F4}"));
    }

    [Theory]
    [MemberData(nameof(EveryModel))]
    public void Greedy_tokens_and_last_logits_are_the_recipes(string model)
    {
        using JsonDocument expected = Expected(model);
        JsonElement[] cases = [.. expected.RootElement.GetProperty("results").EnumerateArray()];
        using LoadedModel loaded = LoadedModel.Load(Path.Combine(weights, model), new() { Device = "cpu", KvType = "f32" },
            cancellation: TestContext.Current.CancellationToken);
        IReadOnlyList<LogitsRun.Outcome> outcomes = new LogitsRun(loaded, PrefillMode.Converged)
            .Run([.. cases.Select(one => Ids(one.GetProperty("prompt")))], greedy: 32);

        foreach ((JsonElement one, LogitsRun.Outcome outcome) in cases.Zip(outcomes))
        {
            float[] logits = [.. one.GetProperty("logits_last").EnumerateArray().Select(logit => logit.GetSingle())];
            Assert.All(logits.Zip(outcome.Logits), pair => Assert.Equal(pair.First, pair.Second, LogitTolerance));
            if (one.GetProperty("min_top2_gap").GetDouble() > 2 * LogitTolerance)
            {
                Assert.Equal(Ids(one.GetProperty("greedy")), outcome.Greedy);
            }
        }
    }

    [Theory]
    [MemberData(nameof(EveryModel))]
    public void Converged_prefill_takes_the_passes_that_the_recipe_counted(string model)
    {
        const int tokens = 32;
        using JsonDocument expected = Expected(model);
        double recipes = expected.RootElement.GetProperty("passes").GetProperty($"{tokens} tokens, bf16").GetProperty("mean").GetDouble();
        using LoadedModel loaded = LoadedModel.Load(Path.Combine(weights, model), new() { Device = "cpu", KvType = "bf16" },
            cancellation: TestContext.Current.CancellationToken);

        double ours = HeldOut().Average(ids => PassesOf(loaded, ids.AsSpan(0, tokens)));

        Assert.Equal(recipes, ours, PassesTolerance);
    }

    [Theory]
    [InlineData("converged", 256)]
    [InlineData("converged", 16)]      // windows of several steps, which get into each other's way
    [InlineData("sequential", 16)]
    public void A_budget_that_holds_one_window_gives_the_perplexity_that_a_large_one_gives(string prefill, int rows)
    {
        using var rig = new MixRig();
        var mode = PrefillMode.Parse(prefill);
        var random = new Random(3);
        int[][] windows = [.. Enumerable.Range(0, 7).Select(i => Enumerable.Range(0, 58 + i % 3).Select(_ => random.Next(3, MixRig.Vocabulary)).ToArray())];
        LoadOptions options = new()
        {
            Device = "cpu", Threads = 1, KvType = "f32", Numerics = "consistent", PageTokens = 16, MaxSequences = 5, MaxStepTokens = rows, MaxWanted = rows,
            Prefill = mode,
        };
        double expected;
        long page;
        using (LoadedModel roomy = LoadedModel.Load(rig.Folder, options))
        {
            expected = PerplexityRun.Of(roomy, mode, windows);
            page = roomy.Layout.Classes.Sum(c => c.PageBytes);
        }
        foreach (int pages in (int[])[4, 5, 9])
        {
            using LoadedModel tight = LoadedModel.Load(rig.Folder, options with { KvBudgetBytes = pages * page });
            Assert.Equal(expected, PerplexityRun.Of(tight, mode, windows), 1e-9 * expected);
            Assert.Equal(0, tight.Store.Usage.ActiveBytes);
        }
        using LoadedModel small = LoadedModel.Load(rig.Folder, options with { KvBudgetBytes = 3 * page });
        Assert.Throws<KvBudgetException>(() => PerplexityRun.Of(small, mode, windows));
        Assert.Equal(0, small.Store.Usage.ActiveBytes);
    }

    // The prompt in one piece.
    static int PassesOf(LoadedModel model, ReadOnlySpan<int> prompt)
    {
        KvSequence sequence = model.Store.Open();
        model.Pass.Clear();
        Assert.Equal(0, model.Pass.TryAdd(sequence, prompt, wanted: 1));
        model.Pass.Run(PrefillMode.Converged);
        model.Store.Close(sequence);
        return model.Pass.Passes;
    }

    static int[][] HeldOut()
    {
        using JsonDocument windows = JsonDocument.Parse(File.ReadAllText(Path.Combine(weights, "held-out.json")));
        return [.. windows.RootElement.EnumerateArray().Select(Ids)];
    }

    static IEnumerable<string> Models() => Directory.EnumerateDirectories(weights)
        .Where(folder => File.Exists(Path.Combine(folder, "expected.json"))).Select(folder => Path.GetFileName(folder)!).Order();

    static JsonDocument Expected(string model) => JsonDocument.Parse(File.ReadAllText(Path.Combine(weights, model, "expected.json")));

    static int[] Ids(JsonElement ids) => [.. ids.EnumerateArray().Select(id => id.GetInt32())];
}
