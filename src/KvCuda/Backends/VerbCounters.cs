namespace KvCuda.Backends;

/// <summary>Calls per verb (and launches per kernel on CUDA): what `--stats` prints. Counting costs an increment.</summary>
internal sealed class VerbCounters
{
    readonly Dictionary<string, long> counts = [];

    public void Count(string name)
    {
        System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(counts, name, out _)++;
    }

    /// <summary>Name and count, most frequent first.</summary>
    public IEnumerable<(string Name, long Count)> Snapshot() =>
        counts.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key, StringComparer.Ordinal)
            .Select(pair => (pair.Key, pair.Value));
}
