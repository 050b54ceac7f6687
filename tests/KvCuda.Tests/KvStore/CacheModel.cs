using KvCuda.KvStore;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

/// <summary>
/// An executable model of the prefix tree beside a real store: which prefixes were published, when each page was last in
/// use, and what may leave for which reason. It also plays the device: every page holds hashes of the tokens before it,
/// copies are played in order, free pages are poisoned; so a page that is written while the tree holds it shows. Copies to
/// and from the host tier are played as late as the store allows (<see cref="LateDevice"/>).
/// </summary>
sealed class CacheModel
{
    const int Vocabulary = 2;
    public const int Codes = 26;

    static readonly KvScope[] Scopes = [new("", "f32"), new("tenant", "f32"), new("", "f32", Session: 7)];

    readonly Store store;
    readonly KvLayout layout;
    readonly int slabs;
    readonly int[] perSlab;
    readonly bool streams;
    readonly LateDevice device;
    readonly List<Run> runs = [];
    readonly List<KvPin> pins = [];
    readonly Dictionary<string, Entry> entries = [];
    int step, code;
    bool ordersTaken = true;     // nothing the store ordered is still unknown to the device

    sealed class Run(KvSequence sequence, KvScope? scope)
    {
        public readonly KvSequence Sequence = sequence;
        public readonly KvScope? Scope = scope;
        public List<int> Tokens = [];
        public int Promised;         // it was announced to become so long, and that could be; 0: nothing
    }

    // What the model remembers of a page in the tree.
    sealed class Entry
    {
        public CachedPage Page;
        public bool Active;
        public int LastStep;         // the last step after which, or in which, it was in use
        public long LastUse, Born;
    }

    public CacheModel(KvLayout layout, int slabs, long slabBytes, bool streams, int hostSlabs)
    {
        device = new(layout.PageTokens);
        this.layout = layout;
        this.slabs = slabs;
        this.streams = streams;
        // Two bits of hash: different tokens meet in one bucket all the time.
        store = new Store(layout, slabs * slabBytes, slabBytes, hashMask: 3, hostSlabs * slabBytes) { ChunkTokens = 4, PinnedShare = 0.5 };
        perSlab = [.. layout.Classes.Select(c => (int)(slabBytes / c.PageBytes))];
    }

    public long Hits => store.Counters.Hits.Sum();
    public long Evictions => store.Counters.Evicted[0];
    public long Moves => store.Moves;
    public long MovedDown => store.Counters.MovedDown;
    public long MovedUp => store.Counters.MovedUp;
    public long Forgotten => store.Counters.EvictedFromTier[0];

    /// <summary>Times that something fitted because of what it shares.</summary>
    public long Gains { get; private set; }

    /// <summary>Times that a page was taken out of the tree because its copy had no room.</summary>
    public long Takes { get; private set; }

    public string? Play(IReadOnlyList<Operation> program)
    {
        for (step = 0; step < program.Count; step++)
        {
            try
            {
                Do(program[step]);
                CheckCounters();
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                return $"operation {step} {program[step]}: {e.Message}";
            }
        }
        return null;
    }

    void Do(Operation o)
    {
        Run? run = runs.Count == 0 ? null : runs[o.A % runs.Count];
        code = run is null ? 0 : o.Code;
        if (run is null || o.Code < 4)
        {
            if (runs.Count < 5)
            {
                Start(o);
            }
            if (o.A % 3 > 0)
            {
                PlayCopies();
            }
            Check(WhyEvicted, null, mayMove: true);
            return;
        }
        switch (o.Code)
        {
            case 4:
                if (runs.Count < 5)
                {
                    runs.Add(new Run(store.Fork(run.Sequence), run.Scope) { Tokens = [.. run.Tokens], Promised = run.Promised });
                }
                Check(_ => "forking", null);
                break;
            case 5:
                store.Truncate(run.Sequence, o.B % (run.Tokens.Count + 1));
                run.Tokens.RemoveRange(run.Sequence.Length, run.Tokens.Count - run.Sequence.Length);
                run.Promised = 0; // what it would write again may be pinned
                Check(_ => "truncating", null);
                break;
            case 6 or 7:
                store.Close(run.Sequence);
                runs.Remove(run);
                Check(_ => "closing", null);
                break;
            case 8:
                Retain(run, o);
                break;
            case 9:
                if (pins.Count < 3 && store.TryPin(run.Sequence, o.B) is { } pin)
                {
                    pins.Add(pin);
                }
                Check(_ => "pinning", null);
                break;
            case 10:
                if (pins.Count > 0)
                {
                    store.Unpin(pins[o.B % pins.Count]);
                    pins.RemoveAt(o.B % pins.Count);
                }
                Check(_ => "unpinning", null);
                break;
            case 11:
                Tick(o.B % 8);
                break;
            case 12:
                Clear(o, run);
                break;
            case 13:
                KeepPromise(run, o);
                break;
            case 14:
                AskFirst(o);
                break;
            case 15 or 16:
                store.MoveAhead(o.B % 9);
                PlayCopies();
                Check(WhyEvicted, null, mayMove: true);
                break;
            default:
                Advance(run, 1 + o.B % 4, o);
                break;
        }
    }

    void Start(Operation o)
    {
        KvScope? scope = o.A % 8 == 7 ? null : Scopes[Math.Max(0, o.A % 8 - 4) % Scopes.Length];
        KvStreaming? streaming = streams && o.B % 3 == 0 ? new KvStreaming(o.B % 2, 3) : null;
        int[] prompt = PromptOf(o);
        int announced = prompt.Length + o.B % 9;
        bool possible = scope is { } there ? store.CanEverFit(announced, prompt, there, streaming) : store.FitsEmpty(announced, streaming) && pins.Count == 0;
        KvSequence s = store.Open(possible ? announced : 0, session: o.A % 3, streaming: streaming);
        var run = new Run(s, scope) { Promised = possible ? announced : 0 };
        runs.Add(run);
        if (scope is { } within)
        {
            Match(run, prompt, within, o);
        }
    }

    // A prompt that others may have had: bits of a number.
    static int[] PromptOf(Operation o) => [.. Enumerable.Range(0, 1 + o.B % 13).Select(i => (o.B >> (i % 4)) & 1)];

    void Match(Run run, int[] prompt, KvScope within, Operation o)
    {
        KvSequence s = run.Sequence;
        int P = layout.PageTokens;
        int limit = s.Streaming is { } t ? (t.Sinks + t.Window) / P : int.MaxValue;
        int expected = LongestHit(within, prompt, limit);
        bool again = o.A % 5 == 4;
        for (int j = 0; j < expected / P; j++)
        {
            // Which of the page's classes lies in the tree's first place says where it came from.
            Entry?[] classes = [.. Enumerable.Range(0, perSlab.Length).Select(c => entries.GetValueOrDefault(Key(within, prompt.AsSpan(0, (j + 1) * P), c)))];
            long? publisher = classes.FirstOrDefault(e => e is not null)?.Page.Publisher;
            KvHit source = classes[0]?.Page.Pins > 0 ? KvHit.Pinned
                : s.Session != 0 && publisher == s.Session ? KvHit.Session : KvHit.Shared;
            hits[(int)source] += again ? 0 : P;
            unsure |= publisher is null; // all its pages are behind the window: nobody tells whose it was
            hitsInTier += !again && Enumerable.Range(0, perSlab.Length).Any(c => IsAttached(c, j, expected, s.Streaming) && classes[c]!.Page.HostGranule >= 0) ? P : 0;
            for (int c = 0; c < perSlab.Length; c++)
            {
                if (IsAttached(c, j, expected, s.Streaming) && entries[Key(within, prompt.AsSpan(0, (j + 1) * P), c)] is { Active: false } idle)
                {
                    gaps.Add(store.Now - idle.LastUse);
                }
            }
        }
        queried += again ? 0 : prompt.Length;
        int found = store.Match(s, prompt, within, again);
        ordersTaken = false;
        Require(found == expected, $"Match found {found} tokens, {expected} are cached");
        Require(s.Tokens.SequenceEqual(prompt.AsSpan(0, found)), "Match attached other tokens");
        run.Tokens = [.. prompt[..found]];
    }

    // What the store said of room before the work began is what the work meets.
    void AskFirst(Operation o)
    {
        if (runs.Count >= 5)
        {
            Check(_ => "asking", null);
            return;
        }
        KvScope scope = Scopes[o.A % Scopes.Length];
        KvStreaming? streaming = streams && o.B % 3 == 0 ? new KvStreaming(o.B % 2, 3) : null;
        int[] prompt = PromptOf(o);
        int tokens = prompt.Length + o.A / 4 % 8;
        bool alone = o.A % 2 == 0;
        if (alone)
        {
            runs.ForEach(r => store.Close(r.Sequence));
            runs.Clear();
            Check(_ => "closing", null);
        }
        bool fits = alone ? store.CanEverFit(tokens, prompt, scope, streaming) : store.WouldFit(tokens, prompt, scope, streaming);
        Require(!alone || !fits || store.WouldFit(tokens, prompt, scope, streaming), "what can ever fit does not fit alone");
        bool fitsUnshared = alone ? store.CanEverFit(tokens, [], scope, streaming) : store.WouldFit(tokens, [], scope, streaming);
        Require(fits || !fitsUnshared, "sharing makes it longer");
        var run = new Run(store.Open(streaming: streaming), scope);
        runs.Add(run);
        Match(run, prompt, scope, o);
        Check(WhyEvicted, null, mayMove: true);
        bool grew = Grow(run, tokens, prompt);
        Require(grew || !fits, $"{tokens} tokens would fit, but did not");
        Gains += fits && !fitsUnshared ? 1 : 0;
    }

    // An announced length is reached, however much was pinned meanwhile, when the others are gone.
    void KeepPromise(Run run, Operation o)
    {
        foreach (Run other in runs.Where(r => r != run).ToArray())
        {
            store.Close(other.Sequence);
            runs.Remove(other);
        }
        Check(_ => "closing", null);
        Require(Grow(run, run.Promised, []) || run.Promised == 0, $"{run.Promised} tokens were announced, but did not fit");
        store.Close(run.Sequence);
        runs.Remove(run);
        Check(_ => "closing", null);
    }

    bool Grow(Run run, int tokens, int[] prompt)
    {
        while (run.Tokens.Count < tokens)
        {
            int length = run.Tokens.Count;
            Advance(run, Math.Min(store.ChunkTokens, tokens - length), new(13, A: 1, B: 0), prompt);
            if (run.Tokens.Count == length)
            {
                return false;
            }
        }
        return true;
    }

    // Straight from the definition: the longest boundary, below the prompt's last token, all of whose needed pages are there.
    int LongestHit(KvScope scope, int[] prompt, int limit)
    {
        for (int pages = Math.Min(limit, (prompt.Length - 1) / layout.PageTokens); pages > 0; pages--)
        {
            int length = pages * layout.PageTokens;
            if (!HasRoomFor(scope, prompt, pages))
            {
                continue;
            }
            if (Enumerable.Range(0, pages).All(j => Enumerable.Range(0, perSlab.Length).All(c =>
                !IsNeeded(layout.Classes[c], j, length) || IsThere(Key(scope, prompt.AsSpan(0, (j + 1) * layout.PageTokens), c)))))
            {
                return length;
            }
        }
        return 0;

        // A stream takes nothing from the host tier.
        bool IsThere(string key) => entries.TryGetValue(key, out Entry? e) && (e.Page.HostGranule < 0 || limit == int.MaxValue);
    }

    // Whether what a hit needs fits beside what is held: of pages in the host tier it is not certain.
    bool HasRoomFor(KvScope scope, int[] prompt, int pages)
    {
        long needed = 0;
        for (int c = 0; c < perSlab.Length; c++)
        {
            long all = entries.Values.Count(e => e.Page.Class == c && e.Page.Pins > 0 && !e.Active)
                + runs.SelectMany(r => Tables(r)[c]).Where(g => g >= 0).Distinct().Count();
            for (int j = 0; j < pages; j++)
            {
                all += IsNeeded(layout.Classes[c], j, pages * layout.PageTokens)
                    && entries.TryGetValue(Key(scope, prompt.AsSpan(0, (j + 1) * layout.PageTokens), c), out Entry? e)
                    && !e.Active && e.Page.Pins == 0 ? 1 : 0;
            }
            needed += (all + perSlab[c] - 1) / perSlab[c];
        }
        return needed <= slabs;
    }

    void Advance(Run run, int tokens, Operation o, int[]? given = null)
    {
        int P = layout.PageTokens, length = run.Tokens.Count;
        int end = (length + tokens + P - 1) / P, first = length / P;
        var tables = runs.ToDictionary(r => r, Tables);
        int[] need = new int[perSlab.Length], owned = new int[perSlab.Length];
        string? taken = null;
        for (int c = 0; c < perSlab.Length; c++)
        {
            int[] table = tables[run][c];
            need[c] = Math.Max(0, end - Math.Max(first, run.Sequence.PageCount));
            if (length % P != 0 && (entries.Values.Any(e => e.Page.Granule == table[first])
                || runs.Any(r => r != run && tables[r][c].Contains(table[first]))))
            {
                need[c]++;
                if (entries.Values.FirstOrDefault(e => e.Page.Granule == table[first]) is { Page.Pins: 0 } own
                    && !runs.Any(r => r != run && tables[r][c].Contains(table[first])))
                {
                    owned[c] = 1;
                    taken = Key(own.Page)[..^2];
                }
            }
        }
        long heldSlabs = 0, usedSlabs = 0, barest = 0;
        for (int c = 0; c < perSlab.Length; c++)
        {
            var active = new HashSet<int>(tables.Values.SelectMany(t => t[c]).Where(g => g >= 0));
            int held = active.Count + entries.Values.Count(e => e.Page.Class == c && e.Page.Pins > 0 && !active.Contains(e.Page.Granule));
            int used = active.Count + entries.Values.Count(e => e.Page.Class == c && e.Page.HostGranule < 0 && !active.Contains(e.Page.Granule));
            heldSlabs += (held + need[c] + perSlab[c] - 1) / perSlab[c];
            barest += (held + need[c] - owned[c] + perSlab[c] - 1) / perSlab[c];
            usedSlabs += (used + need[c] + perSlab[c] - 1) / perSlab[c];
        }
        // Where a copy of the page it writes into has no room, the tree gives up the page itself and what hangs on it.
        bool takes = heldSlabs > slabs && barest <= slabs && taken is not null;
        bool got = store.TryReserve(run.Sequence, tokens);
        Require(got == (heldSlabs <= slabs || takes), $"TryReserve({tokens}) said {got}; {heldSlabs} of {slabs} slabs are needed");
        // Sometimes the pass runs only after others have reserved too, so that one list holds the copies of several.
        bool waits = given is null && o.A / 4 % 4 == 1;
        ordersTaken = false;
        if (!waits)
        {
            PlayCopies();
        }
        Takes += takes ? 1 : 0;
        Check(v => takes && Key(v.Page).StartsWith(taken!, StringComparison.Ordinal) ? null
            : usedSlabs > slabs && got ? WhyEvicted(v) : $"reserving {need[0]} pages", null, mayMove: usedSlabs > slabs && got);
        if (!got || waits)
        {
            return;
        }
        int accepted = o.A % 4 == 0 ? tokens - 1 : tokens;
        for (int position = length; position < length + tokens; position++)
        {
            if (position - length < accepted)
            {
                run.Tokens.Add(position < given?.Length ? given[position]
                    : o.A / 4 % 4 == 0 ? (o.B >> (position - length)) & 1 : position / 3 % Vocabulary);
            }
            for (int c = 0; c < perSlab.Length; c++)
            {
                int granule = Tables(run)[c][position / P];
                Require(granule >= 0, $"a reserved position {position} of class {c} has no page");
                device.Cells(granule)[position % P] = position - length < accepted ? Value(run, position) : 0xF00D;
            }
        }
        store.Advance(run.Sequence, run.Tokens.ToArray().AsSpan(length));
        publishedFrom = run.Sequence.Cursor >= 0 ? length / P * P : int.MaxValue;
        Check(_ => "accepting", run);
    }

    void Retain(Run run, Operation o)
    {
        int priority = o.B % 5 * 25;
        store.Retain(run.Sequence, o.A % 4, o.A % 4 + o.B % 9, new(priority, o.B % 3 * 2));
        Check(_ => "retaining", null);
    }

    void Tick(int time)
    {
        store.Now += time;
        Check(v => IsExpired(v) && !v.Active && v.Page.Pins == 0 ? null : "time passing", null);
        Require(!entries.Values.Any(e => !e.Active && e.Page.Pins == 0 && (e.Page.Leaf || !layout.Classes[e.Page.Class].IsFull)
            && IsExpired(e)), "an expired page stayed");
    }

    void Clear(Operation o, Run run)
    {
        switch (o.B % 4)
        {
            case 0:
                store.ClearAll();
                Check(_ => null, null);
                Require(entries.Count == 0, "something is left after ClearAll");
                break;
            case 1:
                store.ClearSalt("tenant");
                Check(v => v.Page.Scope.Salt == "tenant" ? null : "clearing another tenant", null);
                Require(!entries.Values.Any(e => e.Page.Scope.Salt == "tenant"), "something of the tenant is left");
                break;
            case 2:
                store.ClearSession(1);
                Check(v => v.Page.Publisher == 1 && !v.Page.Shared ? null : "clearing another session", null);
                Require(!entries.Values.Any(e => e.Page.Publisher == 1 && !e.Page.Shared), "something of the session is left");
                break;
            default:
                if (run.Scope is { } scope)
                {
                    int[] prefix = [.. run.Tokens.Take(o.B / 4)];
                    store.ClearPrefix(prefix, scope);
                    Check(v => v.Page.Scope == scope && (v.Page.Prefix.AsSpan().StartsWith(prefix) || prefix.AsSpan().StartsWith(v.Page.Prefix))
                        ? null : "clearing another prefix", null);
                    Require(!entries.Values.Any(e => e.Page.Scope == scope && e.Page.Prefix.Length > prefix.Length
                        && e.Page.Prefix.AsSpan().StartsWith(prefix)), "something continues the prefix");
                }
                break;
        }
    }

    // Null if it was right to evict this page: nothing that could have gone instead was worth less.
    string? WhyEvicted(Entry v)
    {
        if (v.Active)
        {
            return streams ? null : "evicting a page in use";
        }
        if (v.Page.Pins > 0)
        {
            return "evicting a pinned page";
        }
        // Of the host tier, the worst of a class goes; a page that never got there was worse than they.
        Entry? cheaper = streams ? null : before.Values.FirstOrDefault(s => s.Page.HostGranule >= 0 && s.Page.Class == v.Page.Class
            && entries.TryGetValue(Key(s.Page), out Entry? now) && now.Page.HostGranule >= 0
            && (s.Page.Leaf || !layout.Classes[s.Page.Class].IsFull) && Order(s).CompareTo(Order(v)) < 0);
        return cheaper is null ? WhyLeft(v) : $"evicting before {Key(cheaper.Page)} of the tier, {Order(cheaper)}, not {Order(v)},";
    }

    // Null if it was right that this page left the device for the host tier or for good.
    string? WhyLeft(Entry v)
    {
        if (v.Active)
        {
            return streams ? null : "moving a page in use";
        }
        if (v.Page.Pins > 0)
        {
            return "moving a pinned page";
        }
        if (streams || v.Page.HostGranule >= 0)
        {
            return null;
        }
        Entry? cheaper = before.Values.FirstOrDefault(s => s.Page.HostGranule < 0
            && entries.TryGetValue(Key(s.Page), out Entry? now) && now.Page.HostGranule < 0 && !now.Active && !s.Active && s.Page.Pins == 0
            && (s.Page.LeafOnDevice || !layout.Classes[s.Page.Class].IsFull) && Order(s).CompareTo(Order(v)) < 0);
        return cheaper is null ? null : $"evicting before {Key(cheaper.Page)} of {Order(cheaper)}, not {Order(v)},";
    }

    void PlayCopies()
    {
        PageCopies copies = store.TakeCopies();
        within += copies.Count(copy => copy.Move == PageMove.Within);
        Require(store.Counters.Copied + store.Moves == within, "copies are miscounted");
        device.Play(copies);
        ordersTaken = true;
    }

    (int, int) Order(Entry e) => (IsExpired(e) ? -1 : e.Page.Retention.Priority, e.LastStep);

    bool IsExpired(Entry e) => e.Page.Retention.TimeToLive > 0 && e.LastUse + e.Page.Retention.TimeToLive <= store.Now;

    Dictionary<string, Entry> before = [];
    int publishedFrom;

    // What the store counts, counted by the model.
    long queried, published, within, hitsInTier;
    bool unsure;
    readonly long[] hits = new long[4], evicted = new long[3];
    readonly List<long> lifetimes = [], gaps = [];

    void CheckCounters()
    {
        KvCounters counters = store.Counters;
        Require(counters.Queried == queried, $"{counters.Queried} tokens were queried, not {queried}");
        Require(unsure ? counters.Hits.Sum() == hits.Sum() : counters.Hits.AsSpan().SequenceEqual(hits), $"hits by source are {string.Join(' ', counters.Hits)}, not {string.Join(' ', hits)}");
        Require(counters.Published == published, $"{counters.Published} pages were published, not {published}");
        int cause = code switch { 11 => 1, 12 => 2, _ => 0 };
        evicted[cause] += lifetimes.Count - evicted.Sum();
        long[] gone = [.. counters.Evicted.Zip(counters.EvictedFromTier, (a, b) => a + b)];
        Require(gone.AsSpan().SequenceEqual(evicted), $"evictions by cause are {string.Join(' ', gone)}, not {string.Join(' ', evicted)}");
        Require(counters.HitInTier == hitsInTier, $"{counters.HitInTier} tokens were found in the host tier, not {hitsInTier}");
        KvReport report = store.Report();
        Within(report.LifetimeMedian, lifetimes, 0.5, "lifetime");
        Within(report.Lifetime95, lifetimes, 0.95, "lifetime");
        Within(report.ReuseGapMedian, gaps, 0.5, "gap");
        Within(report.ReuseGap95, gaps, 0.95, "gap");
        Require(report.Usage.Fragmentation is >= 0 and <= 1 && report.Sequences == runs.Count, "the report is off");
    }

    // A reported quantile is the upper end of the power of two that the true one lies in.
    static void Within(long reported, List<long> durations, double share, string what)
    {
        long[] sorted = [.. durations.Order()];
        long true_ = sorted.Length == 0 ? 0 : sorted[Math.Max(0, (int)Math.Ceiling(share * sorted.Length) - 1)];
        Require(true_ == 0 ? reported == 0 : true_ < reported && true_ >= reported / 2, $"{what} of {share} is reported as {reported}, it is {true_}");
    }

    // Compares the tree with what the model knew before this operation. `why` returns null if a page rightly vanished.
    void Check(Func<Entry, string?> why, Run? publisher, bool mayMove = false)
    {
        store.Verify();
        LateDevice settled = device.Settled();
        var tables = runs.Select(Tables).ToList();
        var inUse = new HashSet<int>(tables.SelectMany(t => t).SelectMany(t => t).Where(g => g >= 0));

        before = new(entries);
        entries.Clear();
        foreach (CachedPage page in store.CachedPages())
        {
            string key = Key(page);
            bool known = before.TryGetValue(key, out Entry? old);
            Require(known || (publisher?.Scope == page.Scope && publisher.Tokens.ToArray().AsSpan().StartsWith(page.Prefix)), $"{key} appeared from nowhere");
            bool active = inUse.Contains(page.Granule);
            // A page that a sequence found in the tree when it came to publish its own was used, if only for a moment.
            // A streaming sequence meets none of the pages that it may not publish.
            bool met = publisher?.Scope == page.Scope && page.Prefix.Length > publishedFrom
                && !(publisher.Sequence.Streaming is { } t && page.Prefix.Length > t.ExactTokens)
                && publisher.Tokens.ToArray().AsSpan().StartsWith(page.Prefix);
            bool used = active || !known || old!.Active || met;
            published += known ? 0 : 1;
            entries.Add(key, new()
            {
                Page = page,
                Active = active,
                LastStep = used ? step : old!.LastStep,
                LastUse = used ? store.Now : old!.LastUse,
                Born = known ? old!.Born : store.Now,
            });
            ulong[] cells = page.HostGranule < 0 ? device.Cells(page.Granule) : settled.HostCells(page.HostGranule);
            int P = layout.PageTokens;
            for (int i = 0; i < P && ordersTaken; i++)
            {
                Require(cells[i] == Value(page.Scope, page.Prefix, page.Prefix.Length - P + i), $"{key} holds something else at {i}");
            }
        }
        foreach ((string key, Entry entry) in before)
        {
            if (!entries.ContainsKey(key))
            {
                lifetimes.Add(store.Now - entry.Born);
            }
            if (!entries.ContainsKey(key) && why(entry) is { } wrong
                // The pages of one node go together with its full page.
                && !(before.TryGetValue(Key(entry.Page with { Class = 0 }), out Entry? full) && layout.Classes[0].IsFull
                    && entry != full && !entries.ContainsKey(Key(full.Page)) && why(full) is null))
            {
                throw new InvalidOperationException($"{wrong} took {key} away");
            }
            if (entry.Page.HostGranule < 0 && entries.TryGetValue(key, out Entry? still) && still.Page.HostGranule >= 0)
            {
                string? badly = mayMove ? WhyLeft(entry) : "something that needs no room";
                Require(badly is null, $"{badly} moved {key} down");
            }
        }

        // What sequences will read is what was written for their tokens.
        for (int r = 0; r < runs.Count; r++)
        {
            Run run = runs[r];
            for (int c = 0; c < perSlab.Length; c++)
            {
                KvClass k = layout.Classes[c];
                (int window, int sinks) = run.Sequence.Streaming is { } t && (k.IsFull || k.Window >= t.ExactTokens) ? (t.Window, t.Sinks) : (k.Window, 0);
                for (int p = 0; p < run.Tokens.Count; p++)
                {
                    if (ordersTaken && (window == 0 || p < sinks || p > run.Tokens.Count - window))
                    {
                        Require(device.Cells(tables[r][c][p / layout.PageTokens])[p % layout.PageTokens] == Value(run, p), $"class {c}, position {p}: other contents");
                    }
                }
            }
        }
        if (ordersTaken)
        {
            device.PoisonAllBut([.. entries.Values.Select(e => e.Page.Granule), .. inUse], [.. entries.Values.Select(e => e.Page.HostGranule)]);
        }
        for (int c = 0; c < perSlab.Length; c++)
        {
            KvKindUsage usage = store.Usage.Kinds[c];
            Require(usage.Cached == entries.Values.Count(e => e.Page.Class == c && e.Page.HostGranule < 0 && !e.Active && e.Page.Pins == 0), "cached pages are miscounted");
            Require(usage.HostCached == entries.Values.Count(e => e.Page.Class == c && e.Page.HostGranule >= 0), "pages of the host tier are miscounted");
            Require(usage.Pinned == entries.Values.Count(e => e.Page.Class == c && !e.Active && e.Page.Pins > 0), "pinned pages are miscounted");
        }
    }

    bool IsAttached(int c, int page, int length, KvStreaming? streaming)
    {
        KvClass k = layout.Classes[c];
        (int window, int sinks) = k.IsFull && streaming is { } t ? (t.Window, t.Sinks) : (k.Window, 0);
        return window == 0 || page * layout.PageTokens < sinks || (page + 1) * layout.PageTokens > length - window + 1;
    }

    bool IsNeeded(KvClass k, int page, int length) =>
        k.IsFull || (page + 1) * layout.PageTokens > length - k.Window + 1;

    static string Key(CachedPage p) => Key(p.Scope, p.Prefix, p.Class);

    static string Key(KvScope scope, ReadOnlySpan<int> prefix, int c) =>
        $"{scope.Salt}/{scope.Session}/{string.Join(',', prefix.ToArray())}#{c}";

    static ulong Value(Run run, int position) => Value(run.Scope ?? new KvScope("none"), run.Tokens, position);

    static ulong Value(KvScope scope, IReadOnlyList<int> tokens, int position)
    {
        ulong hash = 17 + (ulong)scope.Session + (ulong)scope.Salt.Length * 1000;
        for (int i = 0; i <= position; i++)
        {
            hash = (hash ^ (ulong)(tokens[i] + 1)) * 0x9E37_79B9_7F4A_7C15;
        }
        return hash;
    }

    int[][] Tables(Run run)
    {
        int[][] tables = new int[perSlab.Length][];
        for (int c = 0; c < tables.Length; c++)
        {
            // Of a sequence that slides, the window's pages are moved; here sequences are shorter than a chunk, so all are there.
            int shift = run.Sequence.Slide.Shift / layout.PageTokens;
            int[] written = new int[run.Sequence.PageCount - Math.Min(shift, 0)];
            run.Sequence.WriteTable(c, written);
            tables[c] = [.. Enumerable.Range(0, run.Sequence.PageCount).Select(page => written[page - shift])];
        }
        return tables;
    }

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidOperationException(message);
        }
    }
}
