using System.Text.Json.Nodes;

namespace KvCuda.GpuBench;

/// <summary>
/// Puts our figures beside the peers'. A peer's line is {"key": "peer/NAME/MODEL/SEQUENCES", "what", "value", "unit":
/// "tokens/s", "note"}; ours is "decode/MODEL/SEQUENCES" of the same run.
/// </summary>
internal static class Peers
{
    /// <summary>The peers' figures, then for each model and number of sequences ours over the best of theirs.</summary>
    public static IEnumerable<JsonObject> Compare(IReadOnlyList<JsonObject> peers, ResultFile file)
    {
        foreach (JsonObject peer in peers)
        {
            yield return peer;
        }
        foreach (var group in peers.Where(p => ((string?)p["key"])?.StartsWith("peer/", StringComparison.Ordinal) == true)
            .GroupBy(p => ((string)p["key"]!).Split('/', 3)[^1]))
        {
            JsonObject best = group.MaxBy(p => p["value"]!.GetValue<double>())!;
            if (file.Figure("decode/" + group.Key) is not { } ours)
            {
                continue;
            }
            double ratio = ours["value"]!.GetValue<double>() / best["value"]!.GetValue<double>();
            string[] parts = group.Key.Split('/');
            yield return new Figure($"ratio/{group.Key}", $"{parts[0]}, {parts[1]} sequence{(parts[1] == "1" ? "" : "s")}: ours over the best peer", ratio, "x")
            {
                Share = ratio, Of = "best peer", Target = parts[0] == "1.1B" ? Targets.Peers(int.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture)) : null,
                Note = $"best: {best["what"]}",
            }.Json(file.Ceilings);
        }
    }
}
