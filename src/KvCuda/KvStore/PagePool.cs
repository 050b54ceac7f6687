using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// The arena cut in slabs, slabs cut in pages of one kind. A page is known by a handle, not by its place: when pages of
/// one kind lie scattered over slabs that another kind needs, they are moved together (<see cref="Moves"/>). So what fits is
/// a matter of counting alone: the sum over kinds of ceil(pages / pages per slab) must not exceed the slabs.
/// </summary>
internal sealed class PagePool
{
    const int None = -1;

    readonly long slabBytes;
    readonly int[] kindOfSlab, usedOfSlab, freeSlot, next, previous;
    readonly int[] slotLink;                    // a free slot: the next free one of its slab; a used one: its page
    readonly int[] slabOfPage, slotOfPage, references;
    readonly int[] perSlab, partial, used, slabsOf, granulesOf;
    readonly long[] pageBytes;
    readonly int slots;
    readonly long[] leaving, leavingOfSlab;     // per slot, per slab: the last list of copies that copies it down
    int freeSlab = None, freeSlabs, freePage = None, pagesMade;
    PageCopies copies = [], taken = [];
    long lists, overwritten;     // of finished lists; this list's own are apart, or they would hide those
    bool overwritesOwn;

    public PagePool(long[] pageBytes, long slabBytes, int slabs)
    {
        this.pageBytes = pageBytes;
        this.slabBytes = slabBytes;
        Slabs = slabs;
        perSlab = [.. pageBytes.Select(b => checked((int)(slabBytes / b)))];
        granulesOf = [.. pageBytes.Select(b => checked((int)(b / KvPageShape.GranuleBytes)))];
        slots = perSlab.Max();
        partial = new int[pageBytes.Length];
        Array.Fill(partial, None);
        used = new int[pageBytes.Length];
        slabsOf = new int[pageBytes.Length];
        kindOfSlab = new int[slabs];
        usedOfSlab = new int[slabs];
        freeSlot = new int[slabs];
        next = new int[slabs];
        previous = new int[slabs];
        int pages = checked(slots * slabs);
        slotLink = new int[pages];
        leaving = new long[pages];
        leavingOfSlab = new long[slabs];
        slabOfPage = new int[pages];
        slotOfPage = new int[pages];
        references = new int[pages];
        for (int s = slabs - 1; s >= 0; s--)
        {
            kindOfSlab[s] = None;
            next[s] = freeSlab;
            freeSlab = s;
        }
        freeSlabs = slabs;
    }

    public int Slabs { get; }

    /// <summary>Slabs without a kind.</summary>
    public int FreeSlabs => freeSlabs;

    /// <summary>Pages moved so far to free a slab.</summary>
    public long Moves { get; private set; }

    public int PagesPerSlab(int kind) => perSlab[kind];
    public int SlabsOf(int kind) => slabsOf[kind];
    public int Used(int kind) => used[kind];
    public long PageBytes(int kind) => pageBytes[kind];
    public int References(int page) => references[page];
    public int KindOf(int page) => kindOfSlab[slabOfPage[page]];

    /// <summary>Where a page lies: its slab, and its place in it.</summary>
    public (int Slab, int Slot) PlaceOf(int page) => (slabOfPage[page], slotOfPage[page]);

    /// <summary>Per slab its kind (-1: not cut) and per page 1 if it is used, else 0.</summary>
    public List<(int Kind, byte[] Pages)> Draw()
    {
        List<(int Kind, byte[] Pages)> slabs = [.. kindOfSlab.Select(kind => (kind, new byte[kind == None ? 0 : perSlab[kind]]))];
        for (int page = 0; page < pagesMade; page++)
        {
            if (references[page] > 0)
            {
                slabs[slabOfPage[page]].Pages[slotOfPage[page]] = 1;
            }
        }
        return slabs;
    }

    /// <summary>Handles are below this number.</summary>
    public int Capacity => references.Length;

    /// <summary>Where a page starts, in granules from the arena's start.</summary>
    public int Granule(int page)
    {
        int slab = slabOfPage[page];
        return (int)(slab * slabBytes / KvPageShape.GranuleBytes) + slotOfPage[page] * granulesOf[kindOfSlab[slab]];
    }

    /// <summary>Takes a page with one reference. The caller has counted that it fits.</summary>
    public int Take(int kind)
    {
        if (partial[kind] == None)
        {
            if (freeSlab == None)
            {
                FreeASlab(kind);
            }
            OpenSlab(kind);
        }
        int page = freePage;
        if (page == None)
        {
            page = pagesMade++;
        }
        else
        {
            freePage = slabOfPage[page];
        }
        references[page] = 1;
        used[kind]++;
        Place(page, partial[kind]);
        return page;
    }

    public void AddReference(int page) => references[page]++;

    /// <summary>Gives one reference back; true if it was the last and the page is free now.</summary>
    public bool Release(int page)
    {
        if (--references[page] > 0)
        {
            return false;
        }
        used[KindOf(page)]--;
        Unplace(page);
        slabOfPage[page] = freePage;
        freePage = page;
        return true;
    }

    /// <summary>
    /// Whether a page can be taken without moving others or leaving a kind that has no slab without one.
    /// </summary>
    public bool HasRoomFor(int kind)
    {
        if (partial[kind] != None)
        {
            return true;
        }
        int without = 0;
        for (int k = 0; k < slabsOf.Length; k++)
        {
            without += k != kind && slabsOf[k] == 0 ? 1 : 0;
        }
        return freeSlabs > without;
    }

    /// <summary>Queues a copy of a page's bytes into another of the same kind.</summary>
    public void Copy(int source, int destination) =>
        copies.Add(new(Granule(source), Granule(destination), pageBytes[KindOf(source)]));

    /// <summary>Queues a copy of a page's bytes to the host; until it is done, its place must not be written.</summary>
    public void CopyDown(int page, int hostGranule)
    {
        int slab = slabOfPage[page];
        leaving[slab * slots + slotOfPage[page]] = leavingOfSlab[slab] = lists + 1;
        copies.Add(new(Granule(page), hostGranule, pageBytes[KindOf(page)], PageMove.Down));
    }

    /// <summary>Queues a copy of a page's bytes from the host.</summary>
    public void CopyUp(int hostGranule, int page) =>
        copies.Add(new(hostGranule, Granule(page), pageBytes[KindOf(page)], PageMove.Up));

    /// <summary>The copies queued since the last call, to be done in this order. Valid until the next call.</summary>
    public PageCopies TakeCopies()
    {
        (copies, taken) = (taken, copies);
        copies.Clear();
        taken.Number = ++lists;
        (taken.Overwrites, taken.OverwritesOwn) = (overwritten, overwritesOwn);
        (overwritten, overwritesOwn) = (0, false);
        return taken;
    }

    void OpenSlab(int kind)
    {
        int slab = freeSlab;
        freeSlab = next[slab];
        freeSlabs--;
        kindOfSlab[slab] = kind;
        usedOfSlab[slab] = 0;
        slabsOf[kind]++;
        int first = slab * slots;
        for (int i = 0; i < perSlab[kind]; i++)
        {
            slotLink[first + i] = i + 1 < perSlab[kind] ? i + 1 : None;
            leaving[first + i] = leavingOfSlab[slab]; // of slots that lay otherwise
        }
        freeSlot[slab] = 0;
        LinkPartial(slab);
    }

    void Place(int page, int slab)
    {
        int slot = freeSlot[slab];
        freeSlot[slab] = slotLink[slab * slots + slot];
        slotLink[slab * slots + slot] = page;
        long left = leaving[slab * slots + slot];
        if (left > lists)
        {
            overwritesOwn = true;
        }
        else
        {
            overwritten = Math.Max(overwritten, left);
        }
        slabOfPage[page] = slab;
        slotOfPage[page] = slot;
        if (++usedOfSlab[slab] == perSlab[kindOfSlab[slab]])
        {
            UnlinkPartial(slab);
        }
    }

    void Unplace(int page)
    {
        int slab = slabOfPage[page], slot = slotOfPage[page], kind = kindOfSlab[slab];
        slotLink[slab * slots + slot] = freeSlot[slab];
        freeSlot[slab] = slot;
        if (usedOfSlab[slab]-- == perSlab[kind])
        {
            LinkPartial(slab);
        }
        if (usedOfSlab[slab] == 0)
        {
            UnlinkPartial(slab);
            kindOfSlab[slab] = None;
            slabsOf[kind]--;
            next[slab] = freeSlab;
            freeSlab = slab;
            freeSlabs++;
        }
    }

    // Empties the sparsest slab of a kind that could do with one slab less.
    void FreeASlab(int wanted)
    {
        int victim = None;
        for (int kind = 0; kind < perSlab.Length; kind++)
        {
            if (kind == wanted || slabsOf[kind] * perSlab[kind] - used[kind] < perSlab[kind])
            {
                continue;
            }
            for (int s = partial[kind]; s != None; s = next[s])
            {
                if (victim == None || usedOfSlab[s] * pageBytes[kind] < usedOfSlab[victim] * pageBytes[kindOfSlab[victim]])
                {
                    victim = s;
                }
            }
        }
        if (victim == None)
        {
            throw new InvalidOperationException("A page was taken that was not counted.");
        }
        int victimKind = kindOfSlab[victim];
        UnlinkPartial(victim);
        for (int slot = 0, left = usedOfSlab[victim]; left > 0; slot++)
        {
            int page = slotLink[victim * slots + slot];
            // A free slot's link is a slot number; it is a page only if that page says it lies here.
            if (page == None || !LiesAt(page, victim, slot))
            {
                continue;
            }
            int from = Granule(page);
            Place(page, partial[victimKind]);
            copies.Add(new(from, Granule(page), pageBytes[victimKind]));
            Moves++;
            left--;
        }
        kindOfSlab[victim] = None;
        usedOfSlab[victim] = 0;
        slabsOf[victimKind]--;
        next[victim] = freeSlab;
        freeSlab = victim;
        freeSlabs++;
    }

    /// <summary>Recounts slabs and slots.</summary>
    /// <exception cref="InvalidOperationException">A count or a link is wrong.</exception>
    internal void Verify()
    {
        int[] usedNow = new int[used.Length], slabsNow = new int[used.Length];
        int freeNow = 0;
        for (int s = 0; s < Slabs; s++)
        {
            int kind = kindOfSlab[s];
            if (kind == None)
            {
                freeNow++;
                continue;
            }
            slabsNow[kind]++;
            var free = new HashSet<int>();
            for (int slot = freeSlot[s]; slot != None; slot = slotLink[s * slots + slot])
            {
                Must(slot < perSlab[kind] && free.Add(slot), "free slots are distinct");
            }
            Must(usedOfSlab[s] == perSlab[kind] - free.Count && usedOfSlab[s] > 0, "a slab of a kind holds a page");
            usedNow[kind] += usedOfSlab[s];
            for (int slot = 0; slot < perSlab[kind]; slot++)
            {
                Must(free.Contains(slot) || LiesAt(slotLink[s * slots + slot], s, slot), "a used slot's page lies there");
            }
        }
        int listed = 0;
        for (int s = freeSlab; s != None; s = next[s])
        {
            listed++;
        }
        Must(freeNow == freeSlabs && listed == freeSlabs, "free slabs are counted");
        for (int k = 0; k < used.Length; k++)
        {
            Must(usedNow[k] == used[k] && slabsNow[k] == slabsOf[k], "pages and slabs of a kind are counted");
            for (int s = partial[k], before = None; s != None; before = s, s = next[s])
            {
                Must(kindOfSlab[s] == k && previous[s] == before && usedOfSlab[s] < perSlab[k], "slabs with free slots are listed");
            }
        }
    }

    static void Must(bool holds, string what)
    {
        if (!holds)
        {
            throw new InvalidOperationException($"The page pool broke an invariant: {what}.");
        }
    }

    bool LiesAt(int page, int slab, int slot) =>
        page < pagesMade && references[page] > 0 && slabOfPage[page] == slab && slotOfPage[page] == slot;

    void LinkPartial(int slab)
    {
        int kind = kindOfSlab[slab], head = partial[kind];
        next[slab] = head;
        previous[slab] = None;
        if (head != None)
        {
            previous[head] = slab;
        }
        partial[kind] = slab;
    }

    void UnlinkPartial(int slab)
    {
        if (previous[slab] == None)
        {
            partial[kindOfSlab[slab]] = next[slab];
        }
        else
        {
            next[previous[slab]] = next[slab];
        }
        if (next[slab] != None)
        {
            previous[next[slab]] = previous[slab];
        }
    }
}
