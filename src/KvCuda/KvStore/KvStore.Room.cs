namespace KvCuda.KvStore;

// What fits, asked before work starts, and how room is made.
internal sealed partial class KvStore
{
    /// <summary>
    /// Bytes of pages of a sequence of so many tokens at its longest moment: window classes need their window, their sinks
    /// and <see cref="ChunkTokens"/>. Depends on nothing that changes: may be asked from any thread.
    /// </summary>
    public long BytesFor(int tokens, KvStreaming? streaming = null)
    {
        long bytes = 0;
        for (int c = 0; c < held.Length; c++)
        {
            bytes += PagesFor(c, tokens, streaming) * pool.PageBytes(c);
        }
        return bytes;
    }

    /// <summary>Whether a sequence of so many tokens fits into an empty store. May be asked from any thread.</summary>
    public bool FitsEmpty(int tokens, KvStreaming? streaming = null)
    {
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            slabs += SlabsFor(c, PagesFor(c, tokens, streaming));
        }
        return slabs <= pool.Slabs;
    }

    /// <summary>
    /// Whether a sequence of so many tokens that begins with this prompt fits when it is alone with what is pinned now.
    /// Pinned pages that it would use are counted once.
    /// </summary>
    public bool CanEverFit(int tokens, ReadOnlySpan<int> prompt, in KvScope scope, KvStreaming? streaming = null) =>
        Fits(pinned, tokens, prompt, scope, streaming, pinsOnly: true);

    /// <summary>
    /// Whether a sequence of so many tokens that begins with this prompt could start now and grow, in free pages, such as may
    /// be evicted, and those it would share.
    /// </summary>
    public bool WouldFit(int tokens, ReadOnlySpan<int> prompt, in KvScope scope, KvStreaming? streaming = null) =>
        Fits(held, tokens, prompt, scope, streaming, pinsOnly: false);

    bool Fits(int[] beside, int tokens, ReadOnlySpan<int> prompt, in KvScope scope, KvStreaming? streaming, bool pinsOnly)
    {
        int root = tree.FindRoot(scope);
        int found = root == None ? 0 : Find(root, prompt, PublishLimit(streaming), pinsOnly, onDevice: streaming is not null);
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            // Of the pages found, those that are not held yet would be from now on.
            (int window, int sinks) = Keeps(c, streaming);
            int first = window == 0 ? 0 : FirstVisiblePage(found * pageTokens, window), sinkPages = PagesOf(sinks);
            long idle = 0, idleSinks = 0;
            for (int j = 0; j < found; j++)
            {
                if (j < first && j >= sinkPages)
                {
                    continue;
                }
                ref PrefixTree.Unit unit = ref tree.UnitOf(tree.UnitId(path[j], c));
                if (unit.HostPage != None || (unit.Pins == 0 && pool.References(unit.Page) == 1))
                {
                    idle++;
                    idleSinks += j < sinkPages ? 1 : 0;
                }
            }
            slabs += SlabsFor(c, beside[c] + PagesFrom(c, found, tokens, streaming, idle, idleSinks));
        }
        return slabs <= pool.Slabs;
    }

    // Pages of class c that a sequence of so many tokens holds at its longest moment.
    long PagesFor(int c, int tokens, KvStreaming? streaming) => PagesFrom(c, 0, tokens, streaming, 0, 0);

    // The same of those that nobody holds yet, if of its first pages only so many must be counted.
    long PagesFrom(int c, int from, int tokens, KvStreaming? streaming, long counted, long countedSinks)
    {
        (int window, int sinks) = Keeps(c, streaming);
        long all = counted + Math.Max(0, PagesOf(tokens) - from);
        if (window == 0)
        {
            return all;
        }
        // W - 1 tokens before the chunk and the chunk itself, wherever they begin within a page.
        long span = (long)window - 1 + chunkTokens;
        return Math.Min(all, countedSinks + Math.Max(0, PagesOf(sinks) - from) + (span + pageTokens - 2) / pageTokens + 1);
    }

    // Whether what is pinned now keeps within its share, and every open sequence its way to its announced length.
    bool PinsLeaveRoom()
    {
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            slabs += SlabsFor(c, pinned[c]);
        }
        if (slabs > pool.Slabs * PinnedShare)
        {
            return false;
        }
        foreach (KvSequence s in open)
        {
            if (s.MaxTokens == 0)
            {
                continue;
            }
            slabs = 0;
            for (int c = 0; c < held.Length; c++)
            {
                slabs += SlabsFor(c, pinned[c] + PagesFrom(c, PinnedPages(s, c), s.MaxTokens, s.Streaming, 0, 0));
            }
            if (slabs > pool.Slabs)
            {
                return false;
            }
        }
        return true;
    }

    // So many first pages of a sequence, as far as it still holds and will not write them, are pinned.
    int PinnedPages(KvSequence s, int c)
    {
        ReadOnlySpan<int> pages = s.Pages(c);
        int j = 0, whole = s.Length / pageTokens;
        while (j < whole && (pages[j] == None || (unitOfPage[pages[j]] is var id && id != None && tree.UnitOf(id).Pins > 0)))
        {
            j++;
        }
        return j;
    }

    // Whether so many pages of each class can be had; what must go for it goes.
    bool MakeRoom(int[] pages)
    {
        if (!CanHold(pages))
        {
            return false;
        }
        while (true)
        {
            long slabs = 0;
            for (int c = 0; c < held.Length; c++)
            {
                slabs += SlabsFor(c, pool.Used(c) + (long)pages[c]);
            }
            if (slabs <= pool.Slabs)
            {
                return true;
            }
            if (candidates.Count == 0)
            {
                CutIdleBranch();
            }
            int id = candidates.First;
            if (!MoveDown(id))
            {
                Evict(id, KvEviction.Capacity);
            }
        }
    }

    bool CanHold(int[] pages)
    {
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            slabs += SlabsFor(c, held[c] + (long)pages[c]);
        }
        return slabs <= pool.Slabs;
    }

    // A sequence that was rewound into a published page would write a copy of it. Where that copy has no room, and only the
    // tree shares the page, the page leaves the tree (with what hangs on it), and the sequence writes the page itself.
    bool TakeFromTree(KvSequence s, int j, int[] pages)
    {
        bool any = false;
        for (int c = 0; c < held.Length; c++)
        {
            if (IsOnlyTheTrees(s.Pages(c)[j]))
            {
                pages[c]--;
                any = true;
            }
        }
        if (!any || !CanHold(pages))
        {
            return false;
        }
        for (int c = 0; c < held.Length; c++)
        {
            int page = s.Pages(c)[j];
            if (!IsOnlyTheTrees(page))
            {
                continue;
            }
            int id = unitOfPage[page], node = tree.NodeOf(id);
            if (Layout.Classes[c].IsFull)
            {
                ClearBelow(node, KvEviction.Capacity);
                RemoveNode(node, KvEviction.Capacity, prune: true);
            }
            else
            {
                Leave(id, KvEviction.Capacity);
                Prune(node);
            }
        }
        return MakeRoom(pages);
    }

    // Besides the sequence that asks.
    bool IsOnlyTheTrees(int page) =>
        unitOfPage[page] is var id && id != None && pool.References(page) == 2 && tree.UnitOf(id).Pins == 0;

    // A streaming sequence gives pages back that its later ones hang on, so that an idle page of a full class may have
    // descendants in use. When nothing else is left, they leave the tree (not their sequence).
    void CutIdleBranch()
    {
        for (int node = 0; node < tree.Made; node++)
        {
            int page = tree[node].Alive ? tree.UnitOf(tree.UnitId(node, 0)).Page : None;
            if (page != None && pool.References(page) == 1 && tree.UnitOf(tree.UnitId(node, 0)).Pins == 0)
            {
                ClearBelow(node, KvEviction.Capacity);
                OfferForEviction(node, 0);
                return;
            }
        }
        throw new InvalidOperationException("Pages were counted as evictable that are not.");
    }

    long SlabsFor(int c, long pages) => (pages + pool.PagesPerSlab(c) - 1) / pool.PagesPerSlab(c);
}
