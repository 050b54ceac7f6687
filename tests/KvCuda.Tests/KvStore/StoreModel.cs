using KvCuda.KvStore;
using KvCuda.Tensors;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

/// <summary>
/// An executable model beside a real store. It knows, in dictionaries, which tokens every sequence has and which page
/// belongs to which sequences, and it plays the device: an array of cells that copies and writes go to. A cell holds a
/// hash of all tokens up to its position, as keys and values do; so reading a wrong, stale or overwritten page shows.
/// </summary>
sealed class StoreModel
{
    const ulong Poison = 0xDEAD_DEAD_DEAD_DEAD;
    const int Vocabulary = 3;

    readonly Store store;
    readonly KvLayout layout;
    readonly int pageTokens;
    readonly int granulesInArena;
    readonly Dictionary<(int Class, int Granule), ulong[]> device = [];
    readonly List<Run> runs = [];
    readonly int slabs;
    readonly int[] perSlab;

    sealed class Page;

    // A sequence as the model sees it: pages by identity, so that sharing is sharing of objects.
    sealed class Run(KvSequence sequence, int classes)
    {
        public readonly KvSequence Sequence = sequence;
        public List<int> Tokens = [];
        public List<Page?>[] Pages = [.. Enumerable.Range(0, classes).Select(_ => new List<Page?>())];
        public int Writable;          // positions below this may be written
    }

    public StoreModel(KvLayout layout, int slabs, long slabBytes)
    {
        this.layout = layout;
        this.slabs = slabs;
        store = new Store(layout, slabs * slabBytes, slabBytes) { ChunkTokens = 4 };
        pageTokens = layout.PageTokens;
        granulesInArena = (int)(store.ArenaBytes / KvPageShape.GranuleBytes);
        perSlab = [.. layout.Classes.Select(c => (int)(slabBytes / c.PageBytes))];
    }

    public const int Codes = 8;

    /// <summary>Runs a program from an empty store; null, or what went wrong at which operation.</summary>
    public string? Play(IReadOnlyList<Operation> program)
    {
        for (int i = 0; i < program.Count; i++)
        {
            try
            {
                Do(program[i]);
                CheckAll();
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                return $"operation {i} {program[i]}: {e.Message}";
            }
        }
        return null;
    }

    void Do(Operation o)
    {
        if (o.Code == 0 || runs.Count == 0)
        {
            if (runs.Count < 6)
            {
                runs.Add(new Run(store.Open(), layout.Classes.Count));
            }
            return;
        }
        Run run = runs[o.A % runs.Count];
        switch (o.Code)
        {
            case 1:
                Reserve(run, o.B % 7);
                break;
            case 2:
                Advance(run, o.B % 7, o.A);
                break;
            case 3:
                if (runs.Count < 6)
                {
                    Fork(run);
                }
                break;
            case 4:
                Truncate(run, o.B % (run.Tokens.Count + 1));
                break;
            case 5:
                store.Close(run.Sequence);
                runs.Remove(run);
                break;
            default:      // as an engine does it: one step of one to four tokens, some of them refused
                if (Reserve(run, 1 + o.B % 4))
                {
                    Advance(run, o.B / 4 % 5, o.A);
                }
                break;
        }
    }

    bool Reserve(Run run, int tokens)
    {
        int first = run.Tokens.Count / pageTokens, end = PagesOf(run.Tokens.Count + tokens);
        bool open = tokens > 0 && run.Tokens.Count % pageTokens != 0;
        long slabsNeeded = 0;
        for (int c = 0; c < perSlab.Length; c++)
        {
            int needed = Math.Max(0, end - run.Pages[c].Count);
            needed += open && IsShared(run.Pages[c][first]!, c) ? 1 : 0;
            slabsNeeded += (Held(c) + needed + perSlab[c] - 1) / perSlab[c];
        }
        bool expected = slabsNeeded <= slabs;
        bool got = store.TryReserve(run.Sequence, tokens);
        Require(got == expected, $"TryReserve({tokens}) said {got}; {slabsNeeded} of {slabs} slabs are needed");
        PlayCopies();
        if (!got)
        {
            return false;
        }
        for (int c = 0; c < perSlab.Length; c++)
        {
            if (open && IsShared(run.Pages[c][first]!, c))
            {
                run.Pages[c][first] = new Page();
            }
            while (run.Pages[c].Count < end)
            {
                run.Pages[c].Add(new Page());
            }
        }
        run.Writable = Math.Max(run.Writable, run.Tokens.Count + tokens);

        // Speculation and iteration write before anything is accepted.
        for (int position = run.Tokens.Count; position < run.Tokens.Count + tokens; position++)
        {
            Write(run, position, 0xF00D + (ulong)position);
        }
        return true;
    }

    void Advance(Run run, int tokens, int seed)
    {
        tokens = Math.Min(tokens, run.Writable - run.Tokens.Count);
        int[] accepted = [.. Enumerable.Range(0, tokens).Select(i => (seed + i) / 2 % Vocabulary)];
        foreach (int token in accepted)
        {
            run.Tokens.Add(token);
            Write(run, run.Tokens.Count - 1, Value(run, run.Tokens.Count - 1));
        }
        store.Advance(run.Sequence, accepted);
        for (int c = 0; c < perSlab.Length; c++)
        {
            for (int j = 0; j < run.Pages[c].Count; j++)
            {
                if (!IsVisible(layout.Classes[c], j, run.Tokens.Count))
                {
                    run.Pages[c][j] = null;
                }
            }
        }
    }

    void Fork(Run run)
    {
        var fork = new Run(store.Fork(run.Sequence), perSlab.Length) { Tokens = [.. run.Tokens], Writable = run.Tokens.Count };
        int pages = PagesOf(run.Tokens.Count);
        for (int c = 0; c < perSlab.Length; c++)
        {
            fork.Pages[c] = [.. run.Pages[c][..pages]];
        }
        run.Writable = run.Tokens.Count;
        runs.Add(fork);
    }

    void Truncate(Run run, int length)
    {
        store.Truncate(run.Sequence, length);
        int kept = run.Sequence.Length;
        Require(kept <= length, $"Truncate({length}) left {kept}");
        bool lossless = Enumerable.Range(0, perSlab.Length).All(c => Enumerable.Range(0, PagesOf(length))
            .All(j => run.Pages[c][j] is not null || !IsVisible(layout.Classes[c], j, length)));
        // note: with a window of 1 no earlier token is needed, but the store may go back further all the same.
        lossless &= layout.Classes.All(k => k.Window != 1);
        Require(!lossless || kept == length, $"Truncate({length}) left {kept}, though everything visible is there");
        run.Tokens.RemoveRange(kept, run.Tokens.Count - kept);
        run.Writable = kept;
        for (int c = 0; c < perSlab.Length; c++)
        {
            run.Pages[c].RemoveRange(PagesOf(kept), run.Pages[c].Count - PagesOf(kept));
        }
    }

    void CheckAll()
    {
        KvUsage usage = store.Usage;
        Require(usage.FreeBytes + usage.ActiveBytes + usage.CachedBytes + usage.PinnedBytes == usage.ArenaBytes, "usage does not add up");
        Require(usage.FreeBytes >= 0 && usage.Kinds.Sum(k => k.Slabs) + usage.FreeSlabs == slabs, "slabs do not add up");
        var owner = new Page?[granulesInArena];
        var live = new HashSet<(int, int)>();
        foreach (Run run in runs)
        {
            Require(run.Sequence.Tokens.SequenceEqual(run.Tokens.ToArray()), "tokens differ");
            for (int c = 0; c < perSlab.Length; c++)
            {
                int[] table = Table(run, c);
                int pageGranules = (int)(layout.Classes[c].PageBytes / KvPageShape.GranuleBytes);
                for (int j = 0; j < table.Length; j++)
                {
                    Page? page = j < run.Pages[c].Count ? run.Pages[c][j] : null;
                    Require(table[j] >= 0 == page is not null, $"class {c}, page {j}: granule {table[j]}");
                    if (page is null)
                    {
                        continue;
                    }
                    Require(table[j] + pageGranules <= granulesInArena, "a page lies outside the arena");
                    for (int g = table[j]; g < table[j] + pageGranules; g++)
                    {
                        Require(owner[g] is null || owner[g] == page, $"two pages overlap in granule {g}");
                        owner[g] = page;
                    }
                    live.Add((c, table[j]));
                }
                CheckContents(run, c, table);
            }
        }
        for (int c = 0; c < perSlab.Length; c++)
        {
            Require(usage.Kinds[c].Active == Held(c), $"class {c}: {usage.Kinds[c].Active} active pages, the model holds {Held(c)}");
            Require(usage.Kinds[c].Total == usage.Kinds[c].Slabs * perSlab[c], $"class {c}: pages do not fill its slabs");
        }
        foreach (((int, int) place, ulong[] cells) in device)
        {
            if (!live.Contains(place))
            {
                Array.Fill(cells, Poison);
            }
        }
    }

    // Whatever the next token may see is what was written for these tokens.
    void CheckContents(Run run, int c, int[] table)
    {
        for (int position = 0; position < run.Tokens.Count; position++)
        {
            KvClass k = layout.Classes[c];
            if (k.IsFull || position > run.Tokens.Count - k.Window)
            {
                ulong cell = Cells(c, table[position / pageTokens])[position % pageTokens];
                Require(cell == Value(run, position), $"class {c}, position {position} of {run.Tokens.Count}: {cell:x}");
            }
        }
    }

    void PlayCopies()
    {
        foreach (PageCopy copy in store.TakeCopies())
        {
            int c = Enumerable.Range(0, perSlab.Length).First(k => layout.Classes[k].PageBytes == copy.Bytes);
            Cells(c, copy.Source).CopyTo(Cells(c, copy.Destination), 0);
        }
    }

    void Write(Run run, int position, ulong value)
    {
        for (int c = 0; c < perSlab.Length; c++)
        {
            Cells(c, Table(run, c)[position / pageTokens])[position % pageTokens] = value;
        }
    }

    static ulong Value(Run run, int position)
    {
        ulong hash = 17;
        for (int i = 0; i <= position; i++)
        {
            hash = (hash ^ (ulong)(run.Tokens[i] + 1)) * 0x9E37_79B9_7F4A_7C15;
        }
        return hash;
    }

    ulong[] Cells(int c, int granule)
    {
        if (!device.TryGetValue((c, granule), out ulong[]? cells))
        {
            device[(c, granule)] = cells = new ulong[pageTokens];
            Array.Fill(cells, Poison);
        }
        return cells;
    }

    int[] Table(Run run, int c)
    {
        int[] row = new int[run.Sequence.PageCount + 2];
        run.Sequence.WriteTable(c, row);
        return row;
    }

    bool IsVisible(KvClass k, int page, int length) =>
        k.IsFull || (page + 1) * pageTokens > length - k.Window + 1;

    bool IsShared(Page page, int c) => runs.Count(run => run.Pages[c].Contains(page)) > 1;

    int Held(int c) => runs.SelectMany(run => run.Pages[c]).Where(page => page is not null).Distinct().Count();

    int PagesOf(int tokens) => (tokens + pageTokens - 1) / pageTokens;

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidOperationException(message);
        }
    }
}
