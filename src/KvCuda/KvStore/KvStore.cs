namespace KvCuda.KvStore;

/// <summary>
/// Which page of the arena holds which tokens of which sequence: integers in, integers out, no device is touched. Owned
/// by one thread (the engine's); nothing here is safe for two.
///
/// One step of a sequence: <see cref="TryReserve"/> (pages become writable), the caller does <see cref="TakeCopies"/> and the
/// forward pass, then <see cref="Advance"/> with the tokens that were accepted.
/// </summary>
internal sealed partial class KvStore
{
    const int None = KvSequence.None;

    readonly PagePool pool;
    readonly int pageTokens;
    readonly int[] held;         // per class: pages that eviction cannot free
    readonly int[] need;         // scratch of TryReserve
    int chunkTokens = 512;

    /// <param name="layout">kinds of pages</param>
    /// <param name="budgetBytes">the arena will not be larger</param>
    /// <param name="slabBytes">0: <see cref="KvLayout.SlabBytes"/></param>
    /// <exception cref="KvBudgetException">Not even one page of each class fits.</exception>
    public KvStore(KvLayout layout, long budgetBytes, long slabBytes = 0)
    {
        Layout = layout;
        BudgetBytes = budgetBytes;
        pageTokens = layout.PageTokens;
        SlabBytes = slabBytes > 0 ? slabBytes : layout.SlabBytes(budgetBytes);
        long largest = layout.Classes.Max(c => c.PageBytes);
        if (SlabBytes < largest || SlabBytes % layout.GranuleBytes != 0)
        {
            throw new InvalidRequestException(
                $"A slab of {SlabBytes} bytes cannot hold pages of {largest} bytes in granules of {layout.GranuleBytes}.");
        }
        long slabs = budgetBytes / SlabBytes;
        long needed = SlabBytes * layout.Classes.Count;
        if (slabs < layout.Classes.Count)
        {
            throw new KvBudgetException(
                $"A key/value budget of {budgetBytes} bytes cannot hold one page of each of the {layout.Classes.Count} kinds of " +
                $"this model; give it at least {needed} bytes.", needed, budgetBytes);
        }
        // Page tables count granules in 32 bits.
        slabs = Math.Min(slabs, (long)int.MaxValue * layout.GranuleBytes / SlabBytes);
        ArenaBytes = slabs * SlabBytes;
        pool = new([.. layout.Classes.Select(c => c.PageBytes)], SlabBytes, checked((int)slabs), layout.GranuleBytes);
        held = new int[layout.Classes.Count];
        need = new int[layout.Classes.Count];
    }

    public KvLayout Layout { get; }
    public long BudgetBytes { get; }
    public long SlabBytes { get; }

    /// <summary>Bytes to allocate on the device.</summary>
    public long ArenaBytes { get; }

    /// <summary>Pages moved so far to free a slab; when it changes, tables of any sequence may have changed.</summary>
    public long Moves => pool.Moves;

    /// <summary>
    /// The most tokens that one <see cref="TryReserve"/> asks for; <see cref="BytesFor"/> and <see cref="CanEverFit"/> add it to
    /// windows.
    /// </summary>
    public int ChunkTokens
    {
        get => chunkTokens;
        set => chunkTokens = value > 0 ? value : throw new ArgumentOutOfRangeException(nameof(value));
    }

    /// <summary>A new, empty sequence. It holds nothing until <see cref="TryReserve"/>.</summary>
    public KvSequence Open() => new(this, held.Length);

    /// <summary>
    /// Bytes of pages of a sequence of so many tokens at its longest moment: window classes need their window, their sinks
    /// and <see cref="ChunkTokens"/>.
    /// </summary>
    public long BytesFor(int tokens)
    {
        long bytes = 0;
        for (int c = 0; c < held.Length; c++)
        {
            bytes += PagesFor(c, tokens) * pool.PageBytes(c);
        }
        return bytes;
    }

    /// <summary>Whether a sequence of so many tokens fits when it is alone.</summary>
    public bool CanEverFit(int tokens)
    {
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            slabs += SlabsFor(c, PagesFor(c, tokens));
        }
        return slabs <= pool.Slabs;
    }

    /// <summary>Whether a sequence of so many tokens could start now, in free pages and such as may be evicted.</summary>
    public bool WouldFit(int tokens)
    {
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            slabs += SlabsFor(c, held[c] + PagesFor(c, tokens));
        }
        return slabs <= pool.Slabs;
    }

    /// <summary>
    /// Makes positions [Length, Length + tokens) writable: new pages, and a copy of the last one if it is shared. All or
    /// nothing: false changes nothing.
    /// </summary>
    public bool TryReserve(KvSequence s, int tokens)
    {
        Expect(s);
        ArgumentOutOfRangeException.ThrowIfNegative(tokens);
        int end = PagesOf(checked(s.Length + tokens));
        int first = s.Length / pageTokens;
        bool open = tokens > 0 && s.Length % pageTokens != 0;
        for (int c = 0; c < held.Length; c++)
        {
            ReadOnlySpan<int> pages = s.Pages(c);
            need[c] = Math.Max(0, end - Math.Max(first, pages.Length));
            if (open && pool.References(pages[first]) > 1)
            {
                need[c]++;
            }
        }
        if (!MakeRoom(need))
        {
            return false;
        }
        if (open)
        {
            CopyOnWrite(s, first);
        }
        int have = s.PageCount;
        if (end > have)
        {
            s.GrowPages(end);
            s.TableVersion++;
            for (int c = 0; c < held.Length; c++)
            {
                Span<int> pages = s.Pages(c);
                for (int j = have; j < end; j++)
                {
                    pages[j] = pool.Take(c);
                    held[c]++;
                }
            }
        }
        return true;
    }

    /// <summary>
    /// Accepts tokens whose keys and values are written. Pages of window classes that no later row can see are given back:
    /// the next row, at position L = Length, sees positions above L - W.
    /// </summary>
    public void Advance(KvSequence s, ReadOnlySpan<int> tokens)
    {
        Expect(s);
        if (s.Length + tokens.Length > s.PageCount * (long)pageTokens)
        {
            throw new InvalidOperationException(
                $"{tokens.Length} tokens were accepted at {s.Length}, but pages were reserved for {s.PageCount * (long)pageTokens} in all.");
        }
        s.Append(tokens);
        for (int c = 0; c < held.Length; c++)
        {
            KvClass k = Layout.Classes[c];
            if (k.IsFull)
            {
                continue;
            }
            int firstVisible = Math.Max(0, s.Length - k.Window + 1) / pageTokens;
            int end = Math.Min(firstVisible, s.PageCount);
            Span<int> pages = s.Pages(c);
            for (int j = Math.Max(s.FirstLive[c], PagesOf(k.Sinks)); j < end; j++)
            {
                Drop(ref pages[j]);
                s.TableVersion++;
            }
            s.FirstLive[c] = Math.Max(s.FirstLive[c], firstVisible);
        }
    }

    /// <summary>A second sequence with the same tokens. Pages are shared until one of the two writes into them.</summary>
    public KvSequence Fork(KvSequence s)
    {
        Expect(s);
        KvSequence f = new(this, held.Length);
        f.Append(s.Tokens);
        f.GrowPages(PagesOf(s.Length));
        s.FirstLive.CopyTo(f.FirstLive, 0);
        for (int c = 0; c < held.Length; c++)
        {
            Span<int> pages = f.Pages(c);
            s.Pages(c)[..pages.Length].CopyTo(pages);
            foreach (int page in pages)
            {
                if (page != None)
                {
                    pool.AddReference(page);
                }
            }
        }
        return f;
    }

    /// <summary>
    /// Forgets the tokens from <paramref name="length"/> on. Where a window class no longer holds what the row at that
    /// position would see, more is forgotten: the new <see cref="KvSequence.Length"/> says how much is left.
    /// </summary>
    public void Truncate(KvSequence s, int length)
    {
        Expect(s);
        if (length < 0 || length > s.Length)
        {
            throw new ArgumentOutOfRangeException(nameof(length), length, $"The sequence has {s.Length} tokens.");
        }
        if (length < s.Length)
        {
            for (bool again = true; again;)
            {
                again = false;
                for (int c = 0; c < held.Length; c++)
                {
                    KvClass k = Layout.Classes[c];
                    int sinks = PagesOf(k.Sinks) * pageTokens;
                    if (!k.IsFull && length > sinks && s.FirstLive[c] * pageTokens > sinks
                        && Math.Max(0, length - k.Window + 1) / pageTokens < s.FirstLive[c])
                    {
                        length = sinks;
                        again = true;
                    }
                }
            }
        }
        s.Length = length;
        Shrink(s, PagesOf(length));
    }

    /// <summary>Gives all pages of the sequence back.</summary>
    public void Close(KvSequence s)
    {
        Expect(s);
        Shrink(s, 0);
        s.Length = 0;
        s.IsClosed = true;
    }

    /// <summary>
    /// The page copies that must be done, in this order, before the next forward pass. The list is valid until the next
    /// call.
    /// </summary>
    public IReadOnlyList<PageCopy> TakeCopies() => pool.TakeCopies();

    /// <summary>Bytes of the pages that the sequence uses, shared ones included.</summary>
    public long BytesHeld(KvSequence s)
    {
        Expect(s);
        long bytes = 0;
        for (int c = 0; c < held.Length; c++)
        {
            foreach (int page in s.Pages(c))
            {
                bytes += page == None ? 0 : pool.PageBytes(c);
            }
        }
        return bytes;
    }

    public KvUsage Usage
    {
        get
        {
            var kinds = new KvKindUsage[held.Length];
            for (int c = 0; c < kinds.Length; c++)
            {
                kinds[c] = new(pool.SlabsOf(c) * pool.PagesPerSlab(c) - pool.Used(c), held[c], pool.Used(c) - held[c], 0,
                    pool.PageBytes(c), pool.SlabsOf(c));
            }
            return new(ArenaBytes, pool.FreeSlabs, SlabBytes, kinds);
        }
    }

    internal int Granule(int page) => pool.Granule(page);

    // Whether the pages can be taken now.
    bool MakeRoom(int[] pages)
    {
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            slabs += SlabsFor(c, held[c] + (long)pages[c]);
        }
        return slabs <= pool.Slabs;
    }

    void CopyOnWrite(KvSequence s, int j)
    {
        for (int c = 0; c < held.Length; c++)
        {
            ref int page = ref s.Pages(c)[j];
            if (pool.References(page) > 1)
            {
                int copy = pool.Take(c);
                held[c]++;
                pool.Copy(page, copy);
                Drop(ref page);
                page = copy;
                s.TableVersion++;
            }
        }
    }

    void Shrink(KvSequence s, int count)
    {
        if (count == s.PageCount)
        {
            return;
        }
        for (int c = 0; c < held.Length; c++)
        {
            Span<int> pages = s.Pages(c);
            for (int j = count; j < pages.Length; j++)
            {
                Drop(ref pages[j]);
            }
            s.FirstLive[c] = Math.Min(s.FirstLive[c], count);
        }
        s.PageCount = count;
        s.TableVersion++;
    }

    void Drop(ref int page)
    {
        if (page != None)
        {
            int kind = pool.KindOf(page);
            if (pool.Release(page))
            {
                held[kind]--;
            }
            page = None;
        }
    }

    // Pages of class c that a sequence of so many tokens holds at its longest moment.
    long PagesFor(int c, int tokens)
    {
        KvClass k = Layout.Classes[c];
        long all = PagesOf(tokens);
        if (k.IsFull)
        {
            return all;
        }
        // W - 1 tokens before the chunk and the chunk itself, wherever they begin within a page.
        long span = (long)k.Window - 1 + chunkTokens;
        return Math.Min(all, PagesOf(k.Sinks) + (span + pageTokens - 2) / pageTokens + 1);
    }

    long SlabsFor(int c, long pages) => (pages + pool.PagesPerSlab(c) - 1) / pool.PagesPerSlab(c);

    int PagesOf(int tokens) => (int)(((long)tokens + pageTokens - 1) / pageTokens);

    void Expect(KvSequence s)
    {
        if (s.Store != this || s.IsClosed)
        {
            throw new InvalidOperationException(s.IsClosed ? "The sequence is closed." : "The sequence belongs to another store.");
        }
    }
}
