namespace KvCuda.KvStore;

// What stays in the cache and what leaves it: priorities, time to live, pins, eviction, clearing.
internal sealed partial class KvStore
{
    readonly IndexedHeap candidates = new();   // units that may be evicted now, by priority and last use
    readonly IndexedHeap expiries = new();     // those of them with a time to live, by its end
    readonly int[] pinned, pinnedIdle;         // per class: pinned pages; those of no open sequence
    long stamp, now;

    /// <summary>The largest share of slabs that pinned pages may bind.</summary>
    public double PinnedShare { get; set; } = 0.25;

    /// <summary>
    /// The time in milliseconds, as the caller tells it; it never runs backwards. Setting it evicts what has expired.
    /// </summary>
    public long Now
    {
        get => now;
        set
        {
            now = Math.Max(now, value);
            while (expiries.Count > 0 && expiries.FirstKey <= now)
            {
                int id = expiries.First, node = tree.NodeOf(id);
                if (tree[node].FirstChild != None && Layout.Classes[tree.ClassOf(id)].IsFull)
                {
                    OfferForEviction(node, tree.ClassOf(id)); // continued in the host tier: it only goes down before others
                }
                else
                {
                    Evict(id, KvEviction.Expired);
                }
            }
        }
    }

    /// <summary>When the next page expires, in the milliseconds of <see cref="Now"/>; far away if none does.</summary>
    public long NextExpiry => expiries.Count > 0 ? expiries.FirstKey : long.MaxValue;

    /// <summary>
    /// How long the pages of tokens [start, end) of this sequence are kept once nobody uses them, now and when they are
    /// accepted later. Of overlapping ranges the last one set counts, also among sequences that share a page.
    /// </summary>
    public void Retain(KvSequence s, int start, int end, KvRetention retention)
    {
        Expect(s);
        if (start < 0 || end < start || retention.Priority is < 0 or > 100 || retention.TimeToLive < 0)
        {
            throw new InvalidRequestException(
                $"Retention {retention.Priority} for {retention.TimeToLive} ms of tokens {start} to {end} was asked for; " +
                "priorities are 0 to 100, times and ranges not negative.");
        }
        (s.Retentions ??= []).Add((start, end, retention));
        if (s.Cursor != None && tree.IsAlive(s.Cursor, s.CursorGeneration))
        {
            for (int node = s.Cursor; tree[node].Depth > 0; node = tree[node].Parent)
            {
                int first = (tree[node].Depth - 1) * pageTokens;
                if (first < end && first + pageTokens > start)
                {
                    Keep(node, retention);
                }
            }
        }
    }

    /// <summary>
    /// Pins the whole pages of the sequence's first tokens, so that they stay cached without it. Null if that would bind
    /// more than <see cref="PinnedShare"/> of the slabs, or keep an open sequence from its announced length, or if the
    /// pages are not (or no longer) in the prefix tree.
    /// </summary>
    public KvPin? TryPin(KvSequence s, int tokens)
    {
        Expect(s);
        int pages = Math.Min(tokens, s.Length) / pageTokens;
        if (s.Cursor == None || !tree.IsAlive(s.Cursor, s.CursorGeneration) || tree[s.Cursor].Depth < pages)
        {
            return null;
        }
        int node = s.Cursor;
        while (tree[node].Depth > pages)
        {
            node = tree[node].Parent;
        }
        var units = new List<(int, int)>();
        for (; tree[node].Depth > 0; node = tree[node].Parent)
        {
            int j = tree[node].Depth - 1;
            for (int c = 0; c < held.Length; c++)
            {
                KvClass k = Layout.Classes[c];
                if (!k.IsFull && j < FirstVisiblePage(pages * pageTokens, k.Window))
                {
                    continue;
                }
                int id = tree.UnitId(node, c);
                if (tree.UnitOf(id).Page == None)
                {
                    return null;
                }
                units.Add((id, tree[node].Generation));
            }
        }
        foreach ((int id, _) in units)
        {
            ref PrefixTree.Unit unit = ref tree.UnitOf(id);
            if (unit.Pins++ == 0)
            {
                int c = tree.ClassOf(id);
                pinned[c]++;
                if (pool.References(unit.Page) == 1)
                {
                    pinnedIdle[c]++;
                    held[c]++;
                    candidates.Remove(id);
                    expiries.Remove(id);
                }
            }
        }
        var pin = new KvPin(pages * pageTokens, [.. units]);
        if (PinsLeaveRoom())
        {
            return pin;
        }
        Unpin(pin);
        return null;
    }

    /// <summary>Ends a pin; its pages are cached like others.</summary>
    public void Unpin(KvPin pin)
    {
        foreach ((int id, int generation) in pin.Units)
        {
            if (tree.IsAlive(tree.NodeOf(id), generation) && tree.UnitOf(id).Pins > 0 && --tree.UnitOf(id).Pins == 0)
            {
                int c = tree.ClassOf(id);
                pinned[c]--;
                if (pool.References(tree.UnitOf(id).Page) == 1)
                {
                    pinnedIdle[c]--;
                    held[c]--;
                    OfferForEviction(tree.NodeOf(id), c);
                }
            }
        }
        pin.Units = [];
    }

    /// <summary>Forgets everything cached, pins included. Open sequences keep their pages, but publish no more.</summary>
    /// <returns>pages that left the tree</returns>
    public int ClearAll()
    {
        int cleared = 0;
        foreach (int root in tree.Roots.Values.ToArray())
        {
            cleared += ClearBelow(root);
        }
        return cleared;
    }

    /// <summary>Forgets everything cached for a tenant.</summary>
    /// <inheritdoc cref="ClearAll"/>
    public int ClearSalt(string salt)
    {
        int cleared = 0;
        foreach ((_, int root) in tree.Roots.Where(r => r.Key.Salt == salt).ToArray())
        {
            cleared += ClearBelow(root);
        }
        return cleared;
    }

    /// <summary>Forgets everything cached in one scope.</summary>
    /// <inheritdoc cref="ClearAll"/>
    public int ClearScope(in KvScope scope) => tree.FindRoot(scope) is var root && root == None ? 0 : ClearBelow(root);

    /// <summary>Forgets what only this session computed and used.</summary>
    /// <inheritdoc cref="ClearAll"/>
    public int ClearSession(long session)
    {
        int cleared = 0;
        foreach (int root in tree.Roots.Values.ToArray())
        {
            cleared += ClearSession(root, session);
        }
        return cleared;
    }

    /// <summary>
    /// Forgets everything that continues this prefix, and of the prefix itself what nothing else continues.
    /// </summary>
    /// <inheritdoc cref="ClearAll"/>
    public int ClearPrefix(ReadOnlySpan<int> prefix, in KvScope scope)
    {
        int node = tree.FindRoot(scope);
        if (node == None)
        {
            return 0;
        }
        int whole = prefix.Length / pageTokens;
        for (int j = 0; j < whole; j++)
        {
            node = tree.Find(node, prefix.Slice(j * pageTokens, pageTokens));
            if (node == None)
            {
                return 0;
            }
        }
        int cleared = 0;
        ReadOnlySpan<int> rest = prefix[(whole * pageTokens)..];
        for (int child = tree[node].FirstChild, next; child != None; child = next)
        {
            next = tree[child].Next;
            if (tree.Tokens(child).StartsWith(rest))
            {
                cleared += ClearBelow(child) + RemoveNode(child, KvEviction.Cleared, prune: false);
            }
        }
        while (tree[node].Depth > 0 && tree[node].FirstChild == None && (tree[node].Users == 0 || tree[node].Depth == whole))
        {
            int parent = tree[node].Parent;
            cleared += RemoveNode(node, KvEviction.Cleared, prune: false);
            node = parent;
        }
        Prune(node);
        return cleared;
    }

    int ClearSession(int node, long session)
    {
        // Depth first without recursion: trees are as deep as contexts are long.
        int cleared = 0, top = node;
        int child = tree[node].FirstChild;
        while (true)
        {
            if (child != None)
            {
                if (tree[child].Publisher == session && !tree[child].Shared)
                {
                    int next = tree[child].Next;
                    cleared += ClearBelow(child) + RemoveNode(child, KvEviction.Cleared, prune: false);
                    child = next;
                }
                else
                {
                    node = child;
                    child = tree[node].FirstChild;
                }
                continue;
            }
            if (node == top)
            {
                Prune(node);
                return cleared;
            }
            int done = node;
            child = tree[node].Next;
            node = tree[node].Parent;
            if (tree[done].FirstChild == None && tree[done].Users == 0 && !tree.HasPages(done))
            {
                tree.Remove(done);
            }
            else
            {
                OfferForEviction(done);
            }
        }
    }

    // Removes all descendants.
    int ClearBelow(int top, KvEviction cause = KvEviction.Cleared)
    {
        int cleared = 0, node = top;
        while (tree[top].FirstChild != None)
        {
            while (tree[node].FirstChild != None)
            {
                node = tree[node].FirstChild;
            }
            int parent = tree[node].Parent;
            cleared += RemoveNode(node, cause, prune: false);
            node = parent;
        }
        if (tree[top].Depth == 0)
        {
            Prune(top);
        }
        return cleared;
    }

    void Evict(int id, KvEviction cause)
    {
        int node = tree.NodeOf(id), c = tree.ClassOf(id);
        if (Layout.Classes[c].IsFull)
        {
            ClearBelow(node, cause); // what is in the host tier of its continuations
            RemoveNode(node, cause, prune: true);
        }
        else
        {
            Leave(id, cause);
            Prune(node);
        }
    }

    // Takes a childless node out of the tree. Pages in use stay with their sequences.
    int RemoveNode(int node, KvEviction cause, bool prune)
    {
        int parent = tree[node].Parent, pages = 0;
        for (int c = 0; c < held.Length; c++)
        {
            pages += Leave(tree.UnitId(node, c), cause);
        }
        tree.Remove(node);
        if (prune)
        {
            Prune(parent);
        }
        return pages;
    }

    int Leave(int id, KvEviction cause)
    {
        ref PrefixTree.Unit unit = ref tree.UnitOf(id);
        if (unit.IsEmpty)
        {
            return 0;
        }
        int c = tree.ClassOf(id), page = unit.Page;
        candidates.Remove(id);
        expiries.Remove(id);
        CountEviction(unit, cause);
        if (page == None)
        {
            hostCandidates[c].Remove(id);
            host!.Release(unit.HostPage);
            unit = PrefixTree.Unit.Empty;
            return 1;
        }
        if (unit.Pins > 0)
        {
            pinned[c]--;
            if (pool.References(page) == 1)
            {
                pinnedIdle[c]--;
                held[c]--;
            }
        }
        unit = PrefixTree.Unit.Empty;
        unitOfPage[page] = None;
        pool.Release(page);
        CountDeviceChild(tree.NodeOf(id), c, -1);
        return 1;
    }

    void OfferForEviction(int node)
    {
        for (int c = 0; c < held.Length; c++)
        {
            OfferForEviction(node, c);
        }
    }

    // Enters (or re-enters) a page among those that may go: nobody uses it, no pin holds it, and if it is of a full
    // class, nothing continues it: on the device if it is there, anywhere if it is in the host tier.
    void OfferForEviction(int node, int c)
    {
        int id = tree.UnitId(node, c);
        ref PrefixTree.Unit unit = ref tree.UnitOf(id);
        ref PrefixTree.Node n = ref tree[node];
        bool inTier = unit.HostPage != None, childless = !Layout.Classes[c].IsFull || n.FirstChild == None;
        if (inTier ? unit.Expected || !childless
            : unit.Page == None || unit.Pins > 0 || pool.References(unit.Page) > 1 || (!childless && n.DeviceChildren > 0))
        {
            return;
        }
        long end = EndOfLife(node, unit);
        (inTier ? hostCandidates[c] : candidates).Set(id, ((end <= now ? 0 : n.Priority + 1L) << 56) | unit.Stamp);
        if (end < long.MaxValue && (childless || end > now))
        {
            expiries.Set(id, end);
        }
        else
        {
            expiries.Remove(id);
        }
    }

    long EndOfLife(int node, in PrefixTree.Unit unit) =>
        tree[node].TimeToLive == 0 ? long.MaxValue : unit.LastUse + tree[node].TimeToLive;

    // The ranges set on a sequence, for a page that it published or found.
    void ApplyRetention(KvSequence s, int node)
    {
        if (s.Retentions is { } ranges)
        {
            int first = (tree[node].Depth - 1) * pageTokens;
            for (int i = ranges.Count - 1; i >= 0; i--)
            {
                if (ranges[i].Start < first + pageTokens && ranges[i].End > first)
                {
                    Keep(node, ranges[i].Retention);
                    return;
                }
            }
        }
    }

    void Keep(int node, KvRetention retention)
    {
        (tree[node].Priority, tree[node].TimeToLive) = (retention.Priority, retention.TimeToLive);
        OfferForEviction(node);
    }
}
