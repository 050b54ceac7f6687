using System.Diagnostics;
using KvCuda.Tensors;

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
    readonly int[] held;         // per class: pages that eviction cannot free: of open sequences, or pinned
    readonly int[] need;         // scratch of TryReserve
    readonly List<KvSequence> open = [];
    int chunkTokens = 512;
    int ownerThread;             // of debug builds; 0: nobody yet

    /// <param name="layout">kinds of pages</param>
    /// <param name="budgetBytes">the arena will not be larger</param>
    /// <param name="slabBytes">0: <see cref="KvLayout.SlabBytes"/></param>
    /// <param name="hashMask">for tests: bits of the prefix hash that count</param>
    /// <param name="hostBudgetBytes">memory of the host tier; 0: none</param>
    /// <exception cref="KvBudgetException">Not even one page of each class fits.</exception>
    public KvStore(KvLayout layout, long budgetBytes, long slabBytes = 0, ulong hashMask = ulong.MaxValue, long hostBudgetBytes = 0)
    {
        Layout = layout;
        BudgetBytes = budgetBytes;
        pageTokens = layout.PageTokens;
        SlabBytes = slabBytes > 0 ? slabBytes : layout.SlabBytes(budgetBytes);
        long largest = layout.Classes.Max(c => c.PageBytes);
        if (SlabBytes < largest || SlabBytes % KvPageShape.GranuleBytes != 0)
        {
            throw new InvalidRequestException(
                $"A slab of {SlabBytes} bytes cannot hold pages of {largest} bytes in granules of {KvPageShape.GranuleBytes}.");
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
        slabs = Math.Min(slabs, (long)int.MaxValue * KvPageShape.GranuleBytes / SlabBytes);
        ArenaBytes = slabs * SlabBytes;
        long[] pageBytes = [.. layout.Classes.Select(c => c.PageBytes)];
        pool = new(pageBytes, SlabBytes, checked((int)slabs));
        if (hostBudgetBytes != 0)
        {
            if (hostBudgetBytes < needed)
            {
                throw new KvBudgetException(
                    $"A host tier of {hostBudgetBytes} bytes cannot hold one slab of each of the {layout.Classes.Count} kinds of pages " +
                    $"of this model; give it at least {needed} bytes.", needed, hostBudgetBytes);
            }
            host = new(pageBytes, SlabBytes,
                (int)Math.Min(hostBudgetBytes / SlabBytes, (long)int.MaxValue * KvPageShape.GranuleBytes / SlabBytes));
        }
        hostCandidates = [.. layout.Classes.Select(_ => new IndexedHeap())];
        one = new int[layout.Classes.Count];
        held = new int[layout.Classes.Count];
        need = new int[layout.Classes.Count];
        pinned = new int[layout.Classes.Count];
        pinnedIdle = new int[layout.Classes.Count];
        runs = new int[layout.Classes.Count];
        unitOfPage = new int[pool.Capacity];
        Array.Fill(unitOfPage, None);
        tree = new(pageTokens, layout.Classes.Count, hashMask);
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

    /// <summary>A new, empty sequence. It holds nothing until <see cref="Match"/> or <see cref="TryReserve"/>.</summary>
    /// <param name="maxTokens">the longest it can become: pins that would keep it from that are refused; 0: unknown</param>
    /// <param name="session">the session it belongs to; 0: none</param>
    /// <param name="streaming">keep sinks and a window only</param>
    public KvSequence Open(int maxTokens = 0, long session = 0, KvStreaming? streaming = null)
    {
        if (streaming is { } t && (t.Sinks < 0 || t.Window < 1))
        {
            throw new InvalidRequestException($"A stream of {t.Sinks} sinks and a window of {t.Window} tokens was asked for; at least 0 and 1 are possible.");
        }
        var s = new KvSequence(this, held.Length, maxTokens, session, streaming) { Index = open.Count };
        open.Add(s);
        return s;
    }

    /// <summary>
    /// Makes positions [Length, Length + tokens) writable: new pages, and a copy of the last one if it is shared. Where there is
    /// no room for that copy and nobody but the prefix tree shares the page, the tree gives it up. All or nothing: false
    /// changes nothing.
    /// </summary>
    public bool TryReserve(KvSequence s, int tokens)
    {
        Expect(s);
        ArgumentOutOfRangeException.ThrowIfNegative(tokens);
        int end = PagesOf(checked(s.Length + tokens));
        int first = s.Length / pageTokens;
        bool partial = tokens > 0 && s.Length % pageTokens != 0;
        for (int c = 0; c < held.Length; c++)
        {
            ReadOnlySpan<int> pages = s.Pages(c);
            need[c] = Math.Max(0, end - Math.Max(first, pages.Length));
            if (partial && pool.References(pages[first]) > 1)
            {
                need[c]++;
            }
        }
        if (!MakeRoom(need) && !(partial && TakeFromTree(s, first, need)))
        {
            return false;
        }
        if (partial)
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
    /// Accepts tokens whose keys and values are written: pages that are full now enter the prefix tree (if
    /// <see cref="Match"/> said under which scope). Pages of window classes that no later row can see are given back: the
    /// next row, at position L = Length, sees positions above L - W.
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
        Publish(s);
        for (int c = 0; c < held.Length; c++)
        {
            (int window, int sinks) = Keeps(c, s.Streaming);
            if (window == 0)
            {
                continue;
            }
            int firstVisible = FirstVisiblePage(s.Length, window);
            int end = Math.Min(firstVisible, s.PageCount);
            Span<int> pages = s.Pages(c);
            for (int j = Math.Max(s.FirstLive[c], PagesOf(sinks)); j < end; j++)
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
        KvSequence f = Open(s.MaxTokens, s.Session, s.Streaming);
        f.CachedTokens = s.CachedTokens;
        f.Retentions = s.Retentions is null ? null : [.. s.Retentions];
        MoveCursor(f, s.Cursor, s.CursorGeneration);
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
                    (int window, int sinks) = Keeps(c, s.Streaming);
                    int kept = PagesOf(sinks);
                    if (window > 0 && length > kept * pageTokens && s.FirstLive[c] > kept
                        && FirstVisiblePage(length, window) < s.FirstLive[c])
                    {
                        length = kept * pageTokens;
                        again = true;
                    }
                }
            }
        }
        s.Length = length;
        Retreat(s);
        Shrink(s, PagesOf(length));
    }

    /// <summary>Gives all pages of the sequence back; those in the prefix tree stay cached.</summary>
    public void Close(KvSequence s)
    {
        Expect(s);
        Shrink(s, 0);
        MoveCursor(s, None, 0);
        s.Length = 0;
        s.IsClosed = true;
        open[^1].Index = s.Index;
        open[s.Index] = open[^1];
        open.RemoveAt(open.Count - 1);
    }

    /// <summary>
    /// The page copies that must be done, in this order, before the next forward pass (those to the host may take longer:
    /// <see cref="PageCopies.Overwrites"/>). The list is valid until the next call.
    /// </summary>
    public PageCopies TakeCopies() => pool.TakeCopies();

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
                kinds[c] = new(pool.SlabsOf(c) * pool.PagesPerSlab(c) - pool.Used(c), held[c] - pinnedIdle[c],
                    pool.Used(c) - held[c], pinnedIdle[c], pool.PageBytes(c), pool.SlabsOf(c), host?.Used(c) ?? 0);
            }
            return new(ArenaBytes, pool.FreeSlabs, SlabBytes, kinds, HostArenaBytes);
        }
    }

    internal int Granule(int page) => pool.Granule(page);

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
                counters.Copied++;
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
        // The last first: of pages last used together, those that others hang on are evicted later.
        for (int j = s.PageCount - 1; j >= count; j--)
        {
            for (int c = 0; c < held.Length; c++)
            {
                Drop(ref s.Pages(c)[j]);
            }
        }
        for (int c = 0; c < held.Length; c++)
        {
            s.FirstLive[c] = Math.Min(s.FirstLive[c], count);
        }
        s.PageCount = count;
        s.TableVersion++;
    }

    (int Window, int Sinks) Keeps(int c, KvStreaming? streaming)
    {
        KvClass k = Layout.Classes[c];
        return streaming is { } t && (k.IsFull || k.Window >= t.ExactTokens) ? (t.Window, t.Sinks) : (k.Window, 0);
    }

    // The row at position length sees positions above length - window.
    int FirstVisiblePage(int length, int window) => Math.Max(0, length - window + 1) / pageTokens;

    int PagesOf(int tokens) => (int)(((long)tokens + pageTokens - 1) / pageTokens);

    // Debug builds notice a second thread: the first that works on a sequence owns the store.
    [Conditional("DEBUG")]
    void ExpectOwner()
    {
        int thread = Environment.CurrentManagedThreadId;
        ownerThread = ownerThread == 0 ? thread : ownerThread;
        Debug.Assert(thread == ownerThread, $"The KV store of thread {ownerThread} was used by thread {thread}.");
    }

    void Expect(KvSequence s)
    {
        ExpectOwner();
        if (s.Store != this || s.IsClosed)
        {
            throw new InvalidOperationException(s.IsClosed ? "The sequence is closed." : "The sequence belongs to another store.");
        }
    }
}
