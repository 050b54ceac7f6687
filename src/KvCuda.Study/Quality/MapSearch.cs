// A greedy search for the best map of a given number of owners, by distance from the reference on a short text.
using KvCuda.KvStore;
using KvCuda.Weights;

namespace KvCuda.Study;

/// <summary>
/// Starts from the standard map. In every step one layer gives its keys and values up and reads another owner's; of all (layer, target)
/// the one with the smallest mean distance is kept. O(L^2) short runs per step; layer 0 always owns, and targets lie below, so that no
/// prompt needs iteration. Layers that read the one that gives up read its target from then on.
/// </summary>
internal sealed class MapSearch(string folder, TextQuality quality, StudyText text, string format)
{
    readonly ModelConfig config = ModelConfig.Load(folder);

    /// <summary>The best map found for each number of owners down to <paramref name="owners"/>, with its distance.</summary>
    /// <param name="owners">layers that keep keys and values in the end</param>
    /// <param name="say">told every step</param>
    /// <param name="cancellation">ends it between two runs</param>
    public IReadOnlyList<(string Map, double Distance)> Run(int owners, Action<string> say, CancellationToken cancellation)
    {
        int[] map = [.. Enumerable.Range(0, config.Layers)];
        List<(string, double)> found = [];
        while (map.Distinct().Count() > owners)
        {
            (int[] Map, double Distance)? best = null;
            foreach (int layer in map.Distinct().Where(layer => layer > 0).ToArray())
            {
                foreach (int target in map.Distinct().Where(target => target < layer))
                {
                    cancellation.ThrowIfCancellationRequested();
                    int[] tried = [.. map.Select(t => t == layer ? target : t)];
                    double distance = Distance(string.Join('_', tried));
                    if (best is null || distance < best.Value.Distance)
                    {
                        best = (tried, distance);
                    }
                }
            }
            map = best!.Value.Map;
            found.Add((string.Join('_', map), best.Value.Distance));
            say($"search: {map.Distinct().Count()} owners: {found[^1].Item1}, mean distance {Cell.Number(best.Value.Distance)}");
        }
        return found;
    }

    /// <summary>Mean distance of a map from the reference on the search's text.</summary>
    public double Distance(string map)
    {
        using Model.LoadedModel model = quality.Load(map, format, text.Windows.Max(window => window.Length), Math.Min(4, text.Windows.Count));
        return quality.Run(model, text, asReference: false).Distances.Average();
    }

    /// <summary>Runs that a search needs: for the predicted time.</summary>
    public static int Runs(int layers, int owners)
    {
        int runs = 0;
        for (int n = layers; n > owners; n--)
        {
            runs += n * (n - 1) / 2;
        }
        return runs;
    }

    /// <summary>Whether a map can be searched from: it must be the standard one.</summary>
    public static bool CanSearch(LayerSharing native) => native.IsStandard;
}
