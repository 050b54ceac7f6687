using static KvCuda.KvStore.LayerSharingMaps;

namespace KvCuda.KvStore;

public sealed partial class LayerSharing
{
    /// <summary>
    /// The name it was asked by, else the first of <see cref="Names"/>; null for a map that has no name.
    /// </summary>
    public string? Name => givenName ?? Names().FirstOrDefault();

    /// <summary>
    /// Every name that gives this map at this depth, whichever it was asked by: standard first, then the study's (bottom
    /// before middle before top), then the systems' own.
    /// </summary>
    public IEnumerable<string> Names()
    {
        if (IsStandard)
        {
            yield return "standard";
            yield break;
        }
        int window = windows.Max();
        int count = owners.Length;
        foreach ((string partitioning, Func<int, int, Position, int[]> map) in Partitionings)
        {
            foreach ((string position, Position place) in Positions)
            {
                if (Same(map(Layers, count, place)))
                {
                    yield return $"{partitioning}-{position}:{count}";
                }
                else if (count > 1 && KeepFirst(map(Layers, count - 1, place)))
                {
                    yield return $"{partitioning}-{position}:{count - 1},keep-first";
                }
            }
        }
        for (int k = 2; k <= Layers; k++)
        {
            if (Same(Cla(Layers, k)))
            {
                yield return $"cla:{k}";
            }
        }
        if (Same(Sandwich(Layers, count, Position.Top)))
        {
            yield return $"lckv:{count - 1}";
        }
        if (Same(Mlkv(Layers, count)))
        {
            yield return $"mlkv:{count}";
        }
        if (window > 0 && Same(Yoco(Layers)) && Windowed(i => i < Layers / 2))
        {
            yield return $"yoco:{window}";
        }
        if (window > 0 && Same(MixAttention(Layers)) && Windowed(MixAttentionIsWindowed))
        {
            yield return $"mixattention:{window}";
        }

        bool Same(int[] other) => targets.AsSpan().SequenceEqual(other);

        bool KeepFirst(int[] other)
        {
            bool changes = other[0] != 0;
            other[0] = 0;
            return changes && Same(other);
        }

        bool Windowed(Func<int, bool> expected) =>
            Enumerable.Range(0, Layers).All(i => windows[i] == (expected(i) ? window : 0));
    }
}
