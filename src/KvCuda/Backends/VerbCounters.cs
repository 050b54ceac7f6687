namespace KvCuda.Backends;

/// <summary>Calls per verb (and launches per kernel on CUDA): what `--stats` prints. Counting costs an increment.</summary>
internal sealed class VerbCounters
{
    readonly Dictionary<string, long> counts = [];

    /// <summary>Launches per kernel, of a backend that has kernels.</summary>
    public Func<IEnumerable<(string Name, long Count)>>? Launches { get; init; }

    public void Count(string name, long times = 1) =>
        System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(counts, name, out _) += times;

    /// <summary>Name and count, most frequent first: verbs, then kernels.</summary>
    public IEnumerable<(string Name, long Count)> Snapshot() => Launches is null ? Verbs() : Verbs().Concat(Launches());

    /// <summary>The verbs alone.</summary>
    public IEnumerable<(string Name, long Count)> Verbs() =>
        counts.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key, StringComparer.Ordinal)
            .Select(pair => (pair.Key, pair.Value));
}
