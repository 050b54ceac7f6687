// Published claims beside what this engine measured of the same quantity, with conditions and why they differ.
namespace KvCuda.Study;

/// <summary>A claim and our figure.</summary>
/// <param name="Source">where it was published</param>
/// <param name="Claim">what it says, with its conditions</param>
/// <param name="Measured">what was measured here, or why nothing was</param>
/// <param name="Why">why the two differ</param>
internal sealed record ClaimRow(string Source, string Claim, string Measured, string Why)
{
    /// <summary>All claims of the papers and the popular accounts, answered from a model's cells.</summary>
    public static IReadOnlyList<ClaimRow> All(IReadOnlyList<Cell> cells, string model, int layers)
    {
        StudyTable table = new(cells, model);
        return
        [
            new("arXiv 2410.14442, abstract: 2 times fewer KV layers",
                "Most configurations with half the KV layers have a higher throughput than the standard transformer (1.1B, one GPU of 24 GB, its own batch).",
                table.Gain(layers / 2, upward: false), "At a fixed budget the gain follows the law R(s): every layer still reads its target's keys and values, so sharing "
                + "buys larger batches, not less traffic. A program with a large fixed cost per step gains more."),
            new("arXiv 2410.14442, §4: upward maps cost prefill",
                "Top and middle targets need iterated prefill (7+2 passes) and lose throughput with long prompts; bottom targets do not.",
                table.Prefill(), "Converged prefill iterates until the bits stand still, which is exact and takes more passes than the study's nine on random and "
                + "small trained models; it falls back to token by token where that is cheaper."),
            new("arXiv 2405.10637 (LCKV): up to 32 times the batch and 26 times the throughput",
                "30B, 60 layers of which 2 or 10 own KV; 32 times: A100, 2048+2048, batch 1 against 32; 26 times: RTX 3090 with weights offloaded to host memory.",
                table.Batch(), "The ratio of batches is the ratio of owners where the standard model has room for a batch of several; 32 and 26 come from a budget that "
                + "holds one standard sequence, and from weights that cross the bus once per step, whatever the batch."),
            new("Popular summary of 2410.14442: 30 % lower latency through cache monitoring",
                "The paper has no such number.", table.Latency(),
                "Sharing saves the K and V projections of the sharers; reading is unchanged. Nothing in it could give 30 % at batch 1."),
            new("Tutorial on KV caching: GPT-Neo-1.3B 9.28 s without the cache, 3.19 s with it (2.91 times)",
                "Prompt, number of tokens and device are not published; the origin was not found.", table.Cache(),
                "The ratio grows with the number of tokens: without a cache token n costs a prompt of n tokens. Any ratio can be had by choosing the length."),
        ];
    }
}

/// <summary>Looks figures of one model up.</summary>
internal sealed class StudyTable(IReadOnlyList<Cell> cells, string model)
{
    readonly List<Cell> mine = [.. cells.Where(cell => cell.Model == model)];

    IEnumerable<Cell> Of(string measure) => mine.Where(cell => cell.Measure == measure);

    /// <summary>The map of the model itself.</summary>
    public string Reference => mine.FirstOrDefault()?.Map ?? "";

    static int Owners(string map) => map.Split('_').Select(entry => entry.TrimEnd('s')).Distinct().Count();

    static bool LooksUp(string map) => map.Split('_').Select((entry, i) => int.TryParse(entry.TrimEnd('s'), out int target) && target > i).Any(up => up);

    const string Missing = "not measured in this run";

    public string Gain(int owners, bool upward)
    {
        List<string> found = [];
        foreach (IGrouping<(string At, string Format), Cell> group in Of("throughput").GroupBy(cell => (cell.At, cell.Format)))
        {
            if (group.FirstOrDefault(cell => cell.Map == Reference) is not { Value: > 0 } standard)
            {
                continue;
            }
            double[] ratios = [.. group.Where(cell => Owners(cell.Map) == owners && LooksUp(cell.Map) == upward).Select(cell => cell.Value / standard.Value)];
            if (ratios.Length > 0)
            {
                found.Add($"{group.Key.At}: {ratios.Min():F2} to {ratios.Max():F2} times");
            }
        }
        return found.Count == 0 ? Missing : $"{owners} owners, downward maps: {string.Join("; ", found.Take(4))}.";
    }

    public string Prefill()
    {
        Cell? standard = Of("time_to_first_token_ms").FirstOrDefault(cell => cell.Map == Reference);
        if (standard is null || !Of("time_to_first_token_ms").Any(cell => LooksUp(cell.Map)))
        {
            return Missing;
        }
        return string.Join("; ", Of("time_to_first_token_ms").Where(cell => LooksUp(cell.Map)).GroupBy(cell => cell.At.Split(' ')[1])
            .Select(group => $"{group.Key}: {group.Min(cell => cell.Value / standard.Value):F1} to {group.Max(cell => cell.Value / standard.Value):F1} times the standard map"))
            + $"; downward maps {Of("time_to_first_token_ms").Where(cell => !LooksUp(cell.Map) && cell.Map != Reference).Select(cell => cell.Value / standard.Value).DefaultIfEmpty(double.NaN).Max():F2} at most.";
    }

    public string Batch()
    {
        var found = Of("largest_batch").GroupBy(cell => (cell.At, cell.Format)).Select(group => (group.Key.At,
            Standard: group.FirstOrDefault(cell => cell.Map == Reference)?.Value ?? 0, Most: group.MaxBy(cell => cell.Value)!)).Where(row => row.Standard > 0).ToList();
        if (found.Count == 0)
        {
            return Missing;
        }
        (string at, double one, Cell most) = found.MaxBy(row => row.Most.Value / row.Standard);
        Cell? fast = Of("throughput").Where(cell => cell.At == at).MaxBy(cell => cell.Value), slow = Of("throughput").FirstOrDefault(cell => cell.At == at && cell.Map == Reference);
        return $"{at}: batch {one:F0} to {most.Value:F0} ({most.Value / one:F1} times, {Owners(most.Map)} of {Owners(Reference)} owners)"
            + (fast is { } f && slow is { Value: > 0 } s ? $", throughput {f.Value / s.Value:F2} times." : ".");
    }

    public string Latency()
    {
        Cell[] steps = [.. Of("decode_step_ms").Where(cell => cell.At.StartsWith("batch=1 ", StringComparison.Ordinal))];
        Cell? standard = Array.Find(steps, cell => cell.Map == Reference);
        double[] ratios = [.. steps.Where(cell => cell.Map != Reference && standard is not null).Select(cell => cell.Value / standard!.Value)];
        return ratios.Length == 0 ? Missing : $"A decode step at batch 1 takes {ratios.Min():F2} to {ratios.Max():F2} times the standard map's.";
    }

    public string Cache() => Of("cache_gain").FirstOrDefault() is { } gain && Of("cache_on_s").FirstOrDefault() is { } on && Of("cache_off_s").FirstOrDefault() is { } off
        ? $"{gain.At}: {Cell.Number(off.Value)} s without, {Cell.Number(on.Value)} s with: {gain.Value:F2} times (n={gain.N}). Reprint: kvcuda study MODEL --only cache." : Missing;
}
