namespace KvCuda.KvStore;

// The prefix tree: what enters it, and what is found in it.
internal sealed partial class KvStore
{
    readonly PrefixTree tree;
    readonly int[] unitOfPage;   // page -> its place in the tree, None if it has none
    readonly int[] runs;         // scratch of Match
    int[] path = new int[64];    // scratch of Match
    int[] fresh = new int[64];   // scratch of Find: per boundary and class, pages up to it that are neither held nor pinned

    /// <summary>
    /// Attaches the longest cached prefix of the prompt to a new sequence and says how many tokens that are: whole pages,
    /// and never the prompt's last token, whose logits are wanted. From here on the sequence's full pages enter the tree
    /// under this scope.
    ///
    /// A boundary is a hit if full classes have every page before it and window classes those of the last W - 1 tokens
    /// before it (and the sinks). Pages in the host tier count as there if the device has room for them beside what is held;
    /// they come up, and pages nobody uses go down for them.
    /// </summary>
    /// <param name="s">empty and never matched</param>
    /// <param name="prompt">the tokens to look up</param>
    /// <param name="scope">who may reuse what it computes, and whose it may reuse</param>
    /// <param name="again">it was looked up and counted before, and then preempted</param>
    public int Match(KvSequence s, ReadOnlySpan<int> prompt, in KvScope scope, bool again = false)
    {
        Expect(s);
        if (s.PageCount > 0)
        {
            throw new InvalidOperationException("A prefix can be matched for an empty sequence only.");
        }
        int root = tree.GetRoot(scope);
        // A stream does not hold all of its path, so that making room could take a part of it: it finds what is on the device.
        int best = Find(root, prompt, PublishLimit(s.Streaming), onDevice: s.Streaming is not null);
        int node = best == 0 ? root : path[best - 1];
        MoveCursor(s, node, tree[node].Generation);
        s.GrowPages(best);
        s.Append(prompt[..(best * pageTokens)]);
        s.TableVersion++;
        for (int c = 0; c < held.Length; c++)
        {
            (int window, int sinks) = Keeps(c, s.Streaming);
            int first = window == 0 ? 0 : FirstVisiblePage(s.Length, window);
            s.FirstLive[c] = first;
            Span<int> pages = s.Pages(c);
            for (int j = 0; j < best; j++)
            {
                if (j >= first || j < PagesOf(sinks))
                {
                    int id = tree.UnitId(path[j], c);
                    ref PrefixTree.Unit unit = ref tree.UnitOf(id);
                    CountReuse(unit);
                    if (unit.Page == None)
                    {
                        MarkExpected(id);
                        comingUp.Add((j, id));
                        continue;
                    }
                    pages[j] = unit.Page;
                    Attach(unit.Page);
                }
            }
        }
        for (int j = 0; j < best; j++)
        {
            CountHit(s, path[j], again);
        }
        // Those on the device are held by now, so that making room takes none of them away.
        foreach ((int j, int id) in comingUp)
        {
            BringUp(id);
            s.Pages(tree.ClassOf(id))[j] = tree.UnitOf(id).Page;
        }
        comingUp.Clear();
        for (int j = 0; j < best; j++)
        {
            ApplyRetention(s, path[j]);
        }
        counters.Queried += again ? 0 : prompt.Length;
        s.CachedTokens = s.Length;
        return s.Length;
    }

    /// <summary>How many tokens <see cref="Match"/> would find now. Changes nothing.</summary>
    public int Peek(ReadOnlySpan<int> prompt, in KvScope scope, KvStreaming? streaming = null)
    {
        int root = tree.FindRoot(scope);
        return root == None ? 0 : Find(root, prompt, PublishLimit(streaming), onDevice: streaming is not null) * pageTokens;
    }

    readonly List<(int Index, int Unit)> comingUp = [];  // scratch of Match

    // The longest hit, in pages; path holds its nodes. On request only pinned pages count, or only those on the device.
    int Find(int root, ReadOnlySpan<int> prompt, int limit, bool pinsOnly = false, bool onDevice = false)
    {
        int most = Math.Min(limit, (prompt.Length - 1) / pageTokens);
        int best = 0, node = root, classes = held.Length;
        bool anyInTier = false;
        Array.Clear(runs);
        Array.Clear(fresh, 0, classes);
        for (int j = 0; j < most; j++)
        {
            node = tree.Find(node, prompt.Slice(j * pageTokens, pageTokens));
            if (node == None)
            {
                break;
            }
            if (j == path.Length)
            {
                Array.Resize(ref path, 2 * j);
            }
            if ((j + 2) * classes > fresh.Length)
            {
                Array.Resize(ref fresh, Math.Max(2 * fresh.Length, (j + 2) * classes));
            }
            path[j] = node;
            bool hit = true;
            for (int c = 0; c < classes; c++)
            {
                KvClass k = Layout.Classes[c];
                ref PrefixTree.Unit unit = ref tree.UnitOf(tree.UnitId(node, c));
                anyInTier |= unit.HostPage != None;
                bool idle = unit.HostPage != None || (unit.Page != None && unit.Pins == 0 && pool.References(unit.Page) == 1);
                fresh[(j + 1) * classes + c] = fresh[j * classes + c] + (idle ? 1 : 0);
                if (unit.IsEmpty || (onDevice && unit.Page == None) || (pinsOnly && unit.Pins == 0))
                {
                    runs[c] = 0;
                }
                else
                {
                    runs[c]++;
                }
                int first = k.IsFull ? 0 : FirstVisiblePage((j + 1) * pageTokens, k.Window);
                hit &= runs[c] >= j + 1 - first;
            }
            if (hit && (!anyInTier || HasRoomToComeUp(j + 1)))
            {
                best = j + 1;
            }
        }
        return best;
    }

    // Whether the pages that a hit of so many pages needs fit the device beside what is held.
    bool HasRoomToComeUp(int count)
    {
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            KvClass k = Layout.Classes[c];
            int first = k.IsFull ? 0 : FirstVisiblePage(count * pageTokens, k.Window);
            int added = fresh[count * held.Length + c] - fresh[first * held.Length + c];
            slabs += SlabsFor(c, held[c] + (long)added);
        }
        return slabs <= pool.Slabs;
    }

    // Full pages of accepted tokens enter the tree. Where another sequence was first, its page is used from now on.
    void Publish(KvSequence s)
    {
        int full = Math.Min(s.Length / pageTokens, PublishLimit(s.Streaming));
        while (s.Cursor != None)
        {
            if (!tree.IsAlive(s.Cursor, s.CursorGeneration))
            {
                // Cleared under its feet: what follows has nothing to hang on.
                s.Cursor = None;
                return;
            }
            int j = tree[s.Cursor].Depth;
            if (j >= full)
            {
                return;
            }
            ReadOnlySpan<int> tokens = s.Tokens.Slice(j * pageTokens, pageTokens);
            int node = tree.Find(s.Cursor, tokens);
            if (node == None)
            {
                node = tree.Add(s.Cursor, tokens);
                tree[node].Publisher = s.Session;
            }
            else if (tree[node].Publisher != s.Session)
            {
                tree[node].Shared = true;
            }
            for (int c = 0; c < held.Length; c++)
            {
                ref int page = ref s.Pages(c)[j];
                if (page != None)
                {
                    Offer(s, node, c, ref page);
                }
            }
            MoveCursor(s, node, tree[node].Generation);
            ApplyRetention(s, node);
        }
    }

    void Offer(KvSequence s, int node, int c, ref int page)
    {
        int id = tree.UnitId(node, c);
        ref PrefixTree.Unit unit = ref tree.UnitOf(id);
        if (unit.HostPage != None)
        {
            Replace(id, page);
        }
        else if (unit.Page == None)
        {
            Enter(id, page);
        }
        else if (unit.Page != page)
        {
            Attach(unit.Page);
            Drop(ref page);
            page = unit.Page;
            s.TableVersion++;
        }
    }

    // The tree takes a reference of its own.
    void Enter(int id, int page)
    {
        pool.AddReference(page);
        unitOfPage[page] = id;
        tree.UnitOf(id) = new() { Page = page, HostPage = None, Born = now, LastUse = now, Stamp = ++stamp };
        CountDeviceChild(tree.NodeOf(id), tree.ClassOf(id), +1);
        counters.Published++;
    }

    // Pages whose keys and values are those of full attention, and so anybody's.
    int PublishLimit(KvStreaming? streaming) => streaming is { } t ? t.ExactTokens / pageTokens : int.MaxValue;

    // After a truncation: the deepest node all of whose tokens are still accepted.
    void Retreat(KvSequence s)
    {
        if (s.Cursor == None)
        {
            return;
        }
        if (!tree.IsAlive(s.Cursor, s.CursorGeneration))
        {
            s.Cursor = None;
            return;
        }
        int node = s.Cursor;
        while (tree[node].Depth > s.Length / pageTokens)
        {
            node = tree[node].Parent;
        }
        MoveCursor(s, node, tree[node].Generation);
    }

    void MoveCursor(KvSequence s, int node, int generation)
    {
        int old = s.Cursor, oldGeneration = s.CursorGeneration;
        if (node != None && tree.IsAlive(node, generation))
        {
            tree[node].Users++;
        }
        (s.Cursor, s.CursorGeneration) = (node, generation);
        if (old != None && tree.IsAlive(old, oldGeneration))
        {
            tree[old].Users--;
            Prune(old);
        }
    }

    // Removes nodes that hold nothing and lead nowhere.
    void Prune(int node)
    {
        while (node != None && tree[node].FirstChild == None && tree[node].Users == 0 && !tree.HasPages(node))
        {
            int parent = tree[node].Parent;
            tree.Remove(node);
            node = parent;
        }
        if (node != None)
        {
            OfferForEviction(node);
        }
    }

    // A sequence takes a reference.
    void Attach(int page)
    {
        int id = unitOfPage[page];
        bool idle = id != None && pool.References(page) == 1;
        pool.AddReference(page);
        if (!idle)
        {
            return;
        }
        int c = pool.KindOf(page);
        if (tree.UnitOf(id).Pins > 0)
        {
            pinnedIdle[c]--;
        }
        else
        {
            held[c]++;
            candidates.Remove(id);
            expiries.Remove(id);
        }
    }

    // A sequence gives its reference back.
    void Drop(ref int page)
    {
        if (page == None)
        {
            return;
        }
        int c = pool.KindOf(page), id = unitOfPage[page];
        if (pool.Release(page))
        {
            held[c]--;
        }
        else if (id != None && pool.References(page) == 1)
        {
            ref PrefixTree.Unit unit = ref tree.UnitOf(id);
            unit.LastUse = now;
            unit.Stamp = ++stamp;
            if (unit.Pins > 0)
            {
                pinnedIdle[c]++;
            }
            else
            {
                held[c]--;
                OfferForEviction(tree.NodeOf(id), tree.ClassOf(id));
            }
        }
        page = None;
    }
}
