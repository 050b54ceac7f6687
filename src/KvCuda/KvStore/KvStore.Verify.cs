namespace KvCuda.KvStore;

// The invariants, in code. Tests call it after every step.
internal sealed partial class KvStore
{
    /// <summary>Recounts everything from the sequences and the tree.</summary>
    /// <exception cref="InvalidOperationException">A count or a link is wrong; the message says which.</exception>
    internal void Verify()
    {
        pool.Verify();
        var references = new Dictionary<int, int>();
        var users = new Dictionary<int, int>();
        foreach (KvSequence s in open)
        {
            Must(!s.IsClosed && open[s.Index] == s, "an open sequence is listed where it says");
            bool published = s.Cursor != None && tree.IsAlive(s.Cursor, s.CursorGeneration);
            if (published)
            {
                users[s.Cursor] = users.GetValueOrDefault(s.Cursor) + 1;
                Must(tree[s.Cursor].Depth <= s.Length / pageTokens, "a cursor is not beyond the accepted tokens");
                for (int n = s.Cursor; tree[n].Depth > 0; n = tree[n].Parent)
                {
                    Must(tree.Tokens(n).SequenceEqual(s.Tokens.Slice((tree[n].Depth - 1) * pageTokens, pageTokens)), "a cursor's path spells the sequence");
                }
            }
            for (int c = 0; c < held.Length; c++)
            {
                (int window, int sinks) = Keeps(c, s.Streaming);
                Span<int> pages = s.Pages(c);
                int first = window == 0 ? 0 : FirstVisiblePage(s.Length, window);
                for (int j = 0; j < pages.Length; j++)
                {
                    bool visible = j >= first || j < PagesOf(sinks);
                    Must(!visible || pages[j] != None, "a page that a later row sees is held");
                    if (pages[j] != None)
                    {
                        Must(pool.KindOf(pages[j]) == c, "a page is of its class's kind");
                        references[pages[j]] = references.GetValueOrDefault(pages[j]) + 1;
                    }
                }
            }
        }

        int[] active = new int[held.Length], cached = new int[held.Length], pins = new int[held.Length], idlePins = new int[held.Length];
        foreach (int page in references.Keys)
        {
            active[pool.KindOf(page)]++;
        }
        int nodes = 0, offered = 0, expiring = 0;
        int[] inTier = new int[held.Length], offeredInTier = new int[held.Length];
        var hostPages = new HashSet<int>();
        host?.Verify();
        for (int n = 0; n < tree.Made; n++)
        {
            if (!tree[n].Alive)
            {
                continue;
            }
            nodes++;
            Must(tree[n].Users == users.GetValueOrDefault(n), "a node's users are the cursors on it");
            Must(tree[n].Users > 0 || tree[n].FirstChild != None || tree.HasPages(n), "a node leads somewhere");
            int children = 0, onDevice = 0;
            for (int child = tree[n].FirstChild; child != None; child = tree[child].Next)
            {
                Must(tree[child].Alive && tree[child].Parent == n && tree[child].Depth == tree[n].Depth + 1, "a child knows its parent");
                Must(tree.Find(n, tree.Tokens(child)) == child, "a child is found by its tokens");
                children++;
                onDevice += Layout.Classes[0].IsFull && tree.UnitOf(tree.UnitId(child, 0)).Page != None ? 1 : 0;
            }
            Must(tree[n].DeviceChildren == onDevice, "children on the device are counted");
            for (int c = 0; c < held.Length; c++)
            {
                int id = tree.UnitId(n, c);
                PrefixTree.Unit unit = tree.UnitOf(id);
                Must(tree[n].Depth == 0 || !Layout.Classes[c].IsFull || !unit.IsEmpty, "a node has its full page");
                Must(!unit.Expected, "nothing comes up between two operations");
                bool childless = !Layout.Classes[c].IsFull || children == 0;
                if (unit.HostPage != None)
                {
                    Must(unit.Page == None && unit.Pins == 0 && !candidates.Contains(id), "a page is on the device or in the host tier");
                    Must(host!.KindOf(unit.HostPage) == c && host.References(unit.HostPage) == 1 && hostPages.Add(unit.HostPage), "a page of the tier is one node's");
                    Must(hostCandidates[c].Contains(id) == childless, "exactly the pages of the tier that may go are offered");
                    Must(expiries.Contains(id) == (childless && tree[n].TimeToLive > 0), "exactly those of the tier with a time to live expire");
                    inTier[c]++;
                    offeredInTier[c] += childless ? 1 : 0;
                    expiring += expiries.Contains(id) ? 1 : 0;
                    continue;
                }
                Must(!hostCandidates[c].Contains(id), "what is not in the tier does not go from there");
                if (unit.Page == None)
                {
                    Must(unit.Pins == 0 && !candidates.Contains(id) && !expiries.Contains(id), "no page, nothing to evict");
                    continue;
                }
                Must(unitOfPage[unit.Page] == id && pool.KindOf(unit.Page) == c, "a page knows its place in the tree");
                bool idle = !references.ContainsKey(unit.Page);
                references[unit.Page] = references.GetValueOrDefault(unit.Page) + 1;
                pins[c] += unit.Pins > 0 ? 1 : 0;
                idlePins[c] += unit.Pins > 0 && idle ? 1 : 0;
                cached[c] += unit.Pins == 0 && idle ? 1 : 0;
                bool mayGo = idle && unit.Pins == 0 && (!Layout.Classes[c].IsFull || onDevice == 0);
                Must(candidates.Contains(id) == mayGo, "exactly the pages that may go are offered");
                Must(expiries.Contains(id) == (mayGo && tree[n].TimeToLive > 0 && (childless || EndOfLife(n, unit) > now)), "exactly those with a time to live expire");
                offered += mayGo ? 1 : 0;
                expiring += expiries.Contains(id) ? 1 : 0;
            }
        }
        Must(nodes == tree.Count && offered == candidates.Count && expiring == expiries.Count, "nodes and candidates are counted");
        for (int c = 0; c < held.Length; c++)
        {
            Must(pins[c] == pinned[c] && idlePins[c] == pinnedIdle[c], "pins are counted");
            Must(inTier[c] == (host?.Used(c) ?? 0) && offeredInTier[c] == hostCandidates[c].Count, "pages of the tier are counted");
            Must(active[c] + idlePins[c] == held[c], "held = active + pinned");
            Must(active[c] + idlePins[c] + cached[c] == pool.Used(c), "used = active + pinned + cached");
        }
        foreach ((int page, int count) in references)
        {
            Must(pool.References(page) == count, "a page has as many references as holders");
        }
        KvUsage u = Usage;
        Must(u.HostFreeBytes >= 0 && u.HostCachedBytes + u.HostFreeBytes == HostArenaBytes, "the tier's bytes add up");
        Must(u.FreeBytes >= 0 && u.FreeBytes + u.ActiveBytes + u.CachedBytes + u.PinnedBytes == ArenaBytes, "the bytes add up");
    }

    /// <summary>Everything the prefix tree holds, page by page.</summary>
    internal IEnumerable<CachedPage> CachedPages()
    {
        foreach ((KvScope scope, int root) in tree.Roots)
        {
            var todo = new Stack<(int Node, int[] Prefix)>([(root, [])]);
            while (todo.TryPop(out (int Node, int[] Prefix) at))
            {
                for (int child = tree[at.Node].FirstChild; child != None; child = tree[child].Next)
                {
                    todo.Push((child, [.. at.Prefix, .. tree.Tokens(child)]));
                }
                for (int c = 0; c < held.Length; c++)
                {
                    PrefixTree.Node n = tree[at.Node];
                    PrefixTree.Unit unit = tree.UnitOf(tree.UnitId(at.Node, c));
                    if (!unit.IsEmpty)
                    {
                        yield return new(scope, at.Prefix, c, unit.Page == None ? None : pool.Granule(unit.Page), new(n.Priority, n.TimeToLive),
                            unit.Pins, n.Publisher, n.Shared, n.FirstChild == None, n.DeviceChildren == 0,
                            unit.HostPage == None ? None : host!.Granule(unit.HostPage));
                    }
                }
            }
        }
    }

    static void Must(bool holds, string what)
    {
        if (!holds)
        {
            throw new InvalidOperationException($"The store broke an invariant: {what}.");
        }
    }
}

/// <summary>One page of the prefix tree.</summary>
/// <param name="Scope">who may use it</param>
/// <param name="Prefix">all tokens up to the page's end</param>
/// <param name="Class">the class whose keys and values it holds</param>
/// <param name="Granule">where it lies on the device; -1: in the host tier</param>
/// <param name="Retention">how long it is kept</param>
/// <param name="Pins">pins that hold it</param>
/// <param name="Publisher">the session that computed it; 0: none</param>
/// <param name="Shared">used by others than its publisher</param>
/// <param name="Leaf">nothing continues it</param>
/// <param name="LeafOnDevice">nothing on the device continues it</param>
/// <param name="HostGranule">where it lies in the host tier; -1: on the device</param>
internal readonly record struct CachedPage(
    KvScope Scope, int[] Prefix, int Class, int Granule, KvRetention Retention, int Pins, long Publisher, bool Shared, bool Leaf,
    bool LeafOnDevice, int HostGranule);
