// Which map and format fit a wish: exact bytes, predicted speed, measured quality or "unknown", and one explained pick.
using System.Globalization;
using KvCuda.KvStore;
using KvCuda.Weights;

namespace KvCuda.Study;

/// <summary>What a plan is asked for.</summary>
/// <param name="MemoryBytes">for weights, keys and values, and a reserve</param>
/// <param name="Mix">prompt and generated tokens</param>
/// <param name="Concurrency">sequences at once</param>
/// <param name="FirstTokenSeconds">most, or infinity</param>
/// <param name="MostPerplexity">largest perplexity as a multiple of the reference's; infinity: any, also unknown</param>
internal readonly record struct PlanWish(long MemoryBytes, Mix Mix, int Concurrency, double FirstTokenSeconds, double MostPerplexity);

/// <summary>One map in one format.</summary>
internal sealed record PlanRow(StudyMap Map, string Format, long BytesPerToken, long WeightBytes, long KvBytes, int MostSequences, double FirstToken,
    double TokensPerSecond, double TokensPerSecondEach, double? PerplexityRatio)
{
    public bool OnFront { get; set; }

    public string? Refused { get; set; }
}

/// <summary>All rows, and the pick.</summary>
/// <param name="Rows">every valid map and format</param>
/// <param name="Pick">for the model as it is; null: nothing fits</param>
/// <param name="ToTrain">the row that would be picked if quality of untrained maps were no matter; null: the same</param>
/// <param name="Reasons">why, and what was assumed</param>
internal sealed record SharingPlan(IReadOnlyList<PlanRow> Rows, PlanRow? Pick, PlanRow? ToTrain, IReadOnlyList<string> Reasons);

/// <summary>Pure arithmetic over a config and a cost model.</summary>
internal static class Planner
{
    // Activations, page tables, the program itself.
    const long ReserveBytes = 256L << 20;

    public static SharingPlan Make(ModelConfig config, int weightBytes, PlanWish wish, CostModel cost, IReadOnlyList<StudyMap> maps, IReadOnlyList<string> formats,
        Func<string, string, double?> perplexityRatio)
    {
        int total = wish.Mix.Total;
        if (total > config.MaxPositions)
        {
            throw new InvalidRequestException($"{wish.Mix} tokens were asked for; the model's context is {config.MaxPositions}.");
        }
        List<PlanRow> rows = [];
        foreach (StudyMap map in maps)
        {
            foreach (string format in formats)
            {
                rows.Add(Row(config, weightBytes, wish, cost, map, format, perplexityRatio(map.Map, format)));
            }
        }
        foreach (PlanRow row in rows)
        {
            row.Refused = row.MostSequences < wish.Concurrency ? $"holds {row.MostSequences} sequences"
                : row.FirstToken > wish.FirstTokenSeconds ? "first token too late"
                : double.IsFinite(wish.MostPerplexity) && row.PerplexityRatio is null ? "quality unknown"
                : row.PerplexityRatio > wish.MostPerplexity ? "quality too low" : null;
            // Nobody is better in one and as good in the others: memory, first token, throughput.
            row.OnFront = !rows.Exists(other => other != row && other.KvBytes <= row.KvBytes && other.FirstToken <= row.FirstToken
                && other.TokensPerSecond >= row.TokensPerSecond
                && (other.KvBytes < row.KvBytes || other.FirstToken < row.FirstToken || other.TokensPerSecond > row.TokensPerSecond));
        }
        PlanRow? pick = Best(rows.Where(row => row.Refused is null && (row.Map.Trained || row.PerplexityRatio is not null && double.IsFinite(wish.MostPerplexity)))),
            train = Best(rows.Where(row => row.Refused is null or "quality unknown" or "quality too low"));
        return new(rows, pick, train == pick ? null : train, Reasons(config, wish, cost, pick, train, rows));
    }

    static PlanRow Row(ModelConfig config, int weightBytes, PlanWish wish, CostModel cost, StudyMap map, string format, double? ratio)
    {
        KvLayout layout = Formats.Layout(config, map.Sharing, format);
        int kvBytes = Tensors.DTypes.Bytes(Tensors.DTypes.Parse(format));
        long weights = TensorList.Of(config, map.Sharing.Owns).Sum(spec => spec.Shape.Count) * weightBytes;
        long room = wish.MemoryBytes - weights - ReserveBytes;
        int most = room <= 0 ? 0 : Capacity.Sequences(layout, room, wish.Mix.Total, Math.Max(4 * wish.Concurrency, 16));
        int batch = Math.Max(1, Math.Min(wish.Concurrency, most));
        double first = cost.Prompt(config, map.Sharing, weightBytes, kvBytes, wish.Mix.Prompt), decode = 0;
        // Simpson over five lengths: the cost is linear in the context but for windows.
        int[] lengths = Integral.Lengths(wish.Mix);
        decode = Integral.Seconds([.. lengths.Select(length => (length, cost.Step(StepWork.Of(config, map.Sharing, weightBytes, kvBytes, batch, length))))],
            wish.Mix.Prompt, wish.Mix.Generate);
        double throughput = batch * wish.Mix.Generate / (decode + (batch * first));
        return new(map, format, layout.BytesPerToken, weights, Capacity.Budget(layout, batch, wish.Mix.Total), most, first, throughput, wish.Mix.Generate / decode, ratio);
    }

    // The fastest; among those within 3 % of it, the one that needs the least memory.
    static PlanRow? Best(IEnumerable<PlanRow> rows)
    {
        PlanRow[] all = [.. rows];
        double fastest = all.Length == 0 ? 0 : all.Max(row => row.TokensPerSecond);
        return all.Where(row => row.TokensPerSecond >= 0.97 * fastest).OrderBy(row => row.KvBytes).ThenByDescending(row => row.Map.Trained).FirstOrDefault();
    }

    static IReadOnlyList<string> Reasons(ModelConfig config, PlanWish wish, CostModel cost, PlanRow? pick, PlanRow? train, List<PlanRow> rows)
    {
        List<string> reasons = [];
        string N(double value) => Cell.Number(value);
        if (pick is null)
        {
            PlanRow nearest = rows.MaxBy(row => row.MostSequences)!;
            reasons.Add($"Nothing fits the wish for the model as it is. The most sequences of {wish.Mix} in this memory: {nearest.MostSequences} with {nearest.Map.Map} in {nearest.Format}.");
        }
        else
        {
            reasons.Add($"{pick.Map.Map} in {pick.Format}: {(pick.Map.Trained ? "the map that the model was trained with" : "its quality was measured")}; {pick.BytesPerToken:N0} bytes per token, "
                + $"{wish.Concurrency} sequences of {wish.Mix.Total} tokens take {pick.KvBytes / 1048576.0:N0} MiB; the fastest that fits, and of those within 3 % the smallest.");
        }
        if (train is not null && train != pick)
        {
            reasons.Add($"If you train: {train.Map.Map} ({train.Map.Names}) in {train.Format} would give {N(train.TokensPerSecond)} tokens/s at {train.BytesPerToken:N0} bytes per token. "
                + $"These weights were not trained with it{(train.PerplexityRatio is { } r ? $"; its perplexity was measured as {r:F3} times the reference's" : "; its quality is unknown")}.");
        }
        double owners = (pick ?? train)?.Map.Sharing.Owners.Count ?? config.Layers;
        reasons.Add(wish.Mix.Prompt >= wish.Mix.Generate
            ? "Prompts are as long as answers: targets below the sharer (bottom) cost no prefill; top and middle targets do."
            : "Answers are longer than prompts: what top and middle targets cost in prefill matters less.");
        if (owners >= config.Layers / 2.0)
        {
            reasons.Add("With half the layers or more, the study found bottom targets as good as any (arXiv 2410.14442).");
        }
        reasons.Add(string.Create(CultureInfo.InvariantCulture, $"Assumed: all sequences at their full length at once; prompts one after another; no prefix is found in the cache; "
            + $"{ReserveBytes >> 20} MiB beside weights and pages. Speeds are predictions, ±{cost.RelativeError:P0}, from a measurement of a few seconds on this machine; bytes are exact."));
        return reasons;
    }
}
