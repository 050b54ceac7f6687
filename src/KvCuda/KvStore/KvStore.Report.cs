namespace KvCuda.KvStore;

// What the store counts.
internal sealed partial class KvStore
{
    readonly KvCounters counters = new();

    /// <summary>Running sums since the store was made.</summary>
    public KvCounters Counters => counters;

    /// <summary>The store at this moment.</summary>
    public KvReport Report() => new(
        Usage, Layout.BytesPerToken, counters.Queried, [.. counters.Hits], counters.Published, [.. counters.Evicted],
        counters.Copied, pool.Moves, open.Count,
        counters.Lifetimes.Quantile(0.5), counters.Lifetimes.Quantile(0.95),
        counters.ReuseGaps.Quantile(0.5), counters.ReuseGaps.Quantile(0.95),
        [.. Enumerable.Range(0, Layout.Sharing.Layers).Select(Layout.BytesPerTokenOf)],
        new(counters.MovedDown, counters.MovedUp, counters.HitInTier, [.. counters.EvictedFromTier]));

    void CountHit(KvSequence s, int node, bool again)
    {
        ref PrefixTree.Node n = ref tree[node];
        KvHit source = n.Restored ? KvHit.Restored
            : tree.UnitOf(tree.UnitId(node, 0)).Pins > 0 ? KvHit.Pinned
            : s.Session != 0 && n.Publisher == s.Session ? KvHit.Session : KvHit.Shared;
        n.Shared |= n.Publisher != s.Session;
        counters.Hits[(int)source] += again ? 0 : pageTokens;
        n.Hits += again ? 0 : 1;
        for (int c = 0; c < held.Length && !again; c++)
        {
            if (tree.UnitOf(tree.UnitId(node, c)).Expected)
            {
                counters.HitInTier += pageTokens;
                break;
            }
        }
    }

    void CountReuse(in PrefixTree.Unit unit)
    {
        if (unit.Page == None || pool.References(unit.Page) == 1)
        {
            counters.ReuseGaps.Add(now - unit.LastUse);
        }
    }

    void CountEviction(in PrefixTree.Unit unit, KvEviction cause)
    {
        (unit.Page == None ? counters.EvictedFromTier : counters.Evicted)[(int)cause]++;
        counters.Lifetimes.Add(now - unit.Born);
    }
}
