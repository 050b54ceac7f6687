namespace KvCuda.KvStore;

public sealed partial class LayerSharing
{
    /// <summary>
    /// The name it was asked by, else the first of <see cref="Names"/>; null for a map that has no name.
    /// </summary>
    public string? Name => givenName ?? Names().FirstOrDefault();

    /// <summary>
    /// Every name that gives this map at this depth, in the order of the table of schemes: standard (which has no other
    /// name), the study's, then the systems' own.
    /// </summary>
    public IEnumerable<string> Names()
    {
        if (IsStandard)
        {
            yield return "standard";
            yield break;
        }
        int window = windows.Max();
        foreach (SharingScheme scheme in SharingScheme.All)
        {
            if (scheme.Windowed is { } windowed)
            {
                if (window > 0 && Is(scheme.Targets(Layers, window))
                    && Enumerable.Range(0, Layers).All(i => windows[i] == (windowed(i, Layers) ? window : 0)))
                {
                    yield return $"{scheme.Name}:{window}";
                }
                continue;
            }
            if (scheme.Number == SchemeNumber.None)
            {
                if (Is(scheme.Targets(Layers, 0)))
                {
                    yield return scheme.Name;
                }
                continue;
            }
            foreach (int number in scheme.Candidates(Layers, owners.Length)
                .Where(n => n >= scheme.Least && n <= scheme.Most(Layers)))
            {
                if (Is(scheme.Targets(Layers, number)))
                {
                    yield return $"{scheme.Name}:{number}";
                }
                else if (scheme.IsStudied && number > 1 && IsWithFirstKept(scheme.Targets(Layers, number - 1)))
                {
                    yield return $"{scheme.Name}:{number - 1},keep-first";
                }
            }
        }
    }

    bool Is(int[] other) => targets.AsSpan().SequenceEqual(other);

    bool IsWithFirstKept(int[] other)
    {
        bool changes = other[0] != 0;
        other[0] = 0;
        return changes && Is(other);
    }
}
