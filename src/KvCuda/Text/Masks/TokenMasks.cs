// Which tokens may come next in a text of a grammar: masks over the vocabulary, computed once per state and kept.
using System.Numerics;

namespace KvCuda.Text.Masks;

/// <summary>
/// A grammar over a vocabulary. A place in a text is a set of pairs (state of a rule, who called the rule); places are interned, so that each
/// step and each mask is computed once.
/// </summary>
/// <remarks>
/// Most of a mask depends on the states alone and not on who called: it is computed for a caller that is not known, together with
/// the nodes of the vocabulary's tree at which a token leaves the rule; only what lies below these nodes is looked at for each caller. The
/// idea is that of XGrammar (Dong et al. 2024, arXiv 2411.15100, §3.1). Safe for concurrent use.
/// </remarks>
sealed class TokenMasks
{
    /// <summary>Callers: the text as a whole, and one that is not known.</summary>
    const int Whole = 0, Unknown = 1;

    const int MaxCalls = 256, MaxPlaces = 100_000, MaxPairs = 20_000, MaxKept = 1024;

    readonly Lock gate = new();
    readonly ByteNfa nfa;
    readonly int vocabulary, words;
    readonly int[] ends;
    readonly List<(int Return, int Parent, int Depth)> callers = [(-1, -1, 0), (-1, -1, 0)];
    readonly Dictionary<(int Return, int Parent), int> callerIds = [];
    readonly Dictionary<Key, Place> places = [];
    int kept;

    /// <param name="grammar">what texts are allowed</param>
    /// <param name="tokenizer">whose tokens make them</param>
    /// <param name="vocabulary">rows of the model's logits: masks have a bit for each</param>
    /// <param name="endTokens">ids that end a text</param>
    /// <exception cref="InvalidRequestException">The grammar allows no text, or is too ambiguous.</exception>
    public TokenMasks(TextGrammar grammar, Tokenizer tokenizer, int vocabulary, IEnumerable<int> endTokens)
    {
        nfa = grammar.Nfa;
        this.vocabulary = vocabulary;
        words = (vocabulary + 63) / 64;
        ends = [.. endTokens.Where(id => id >= 0 && id < vocabulary)];
        (First, Later) = TokenTrie.Of(tokenizer, vocabulary);
        Start = Close([(nfa.StartOf(grammar.Root), Whole)]);
        if (Start.IsDead)
        {
            throw new InvalidRequestException("The schema or pattern allows no text at all.");
        }
    }

    internal TokenTrie First { get; }

    internal TokenTrie Later { get; }

    internal Place Start { get; }

    /// <summary>Words of 64 bits in a mask.</summary>
    public int MaskWords => words;

    /// <summary>The beginning of a text.</summary>
    public MaskCursor Begin() => new(this);

    /// <summary>Computes what every text needs before it needs it: the masks of places where many bytes may follow, such as within strings.</summary>
    /// <param name="most">places to look at</param>
    public void Prepare(int most = 4096)
    {
        lock (gate)
        {
            var seen = new HashSet<Place>();
            var queue = new Queue<Place>();
            for (int rule = 0; rule < nfa.RuleCount; rule++)
            {
                queue.Enqueue(Close([(nfa.StartOf(rule), Unknown)]));
            }
            while (queue.Count > 0 && seen.Count < most)
            {
                Place place = queue.Dequeue();
                if (place.Pairs.Length == 0 || !seen.Add(place))
                {
                    continue;
                }
                // Bytes between two bounds of the steps lead to the same place: one of them stands for all.
                int[] bounds = [.. place.Pairs.SelectMany(pair => nfa.StepsOf(StateOf(pair)))
                    .SelectMany(step => (int[])[step.Low, step.High + 1]).Distinct().Order()];
                int live = 0;
                for (int i = 0; i + 1 < bounds.Length; i++)
                {
                    Place next = StepOver(place, (byte)bounds[i]);
                    if (!next.IsDead)
                    {
                        live += bounds[i + 1] - bounds[i];
                        queue.Enqueue(next);
                    }
                }
                foreach (int caller in place.Pairs.Select(CallerOf).Distinct().ToArray())
                {
                    if (live >= 64)
                    {
                        Relative(Of([.. place.Pairs.Where(pair => CallerOf(pair) == caller).Select(pair => Pair(StateOf(pair), Unknown))], false, false), Later);
                    }
                }
            }
        }
    }

    internal void Fill(Place place, bool atStart, Span<ulong> mask)
    {
        lock (gate)
        {
            MaskOf(place, atStart ? First : Later).CopyTo(mask);
        }
    }

    internal Place? Step(Place place, ReadOnlySpan<byte> bytes)
    {
        lock (gate)
        {
            foreach (byte b in bytes)
            {
                place = StepOver(place, b);
                if (place.IsDead)
                {
                    return null;
                }
            }
            return place;
        }
    }

    internal bool IsEnd(int id) => Array.IndexOf(ends, id) >= 0;

    ulong[] MaskOf(Place place, TokenTrie trie)
    {
        if (trie == Later && place.Mask is { } known)
        {
            return known;
        }
        var mask = new ulong[words];
        foreach (IGrouping<int, long> group in place.Pairs.GroupBy(CallerOf))
        {
            Place relative = Of([.. group.Select(pair => Pair(StateOf(pair), Unknown))], false, false);
            (ulong[] inside, int[] exits) = Relative(relative, trie);
            for (int i = 0; i < words; i++)
            {
                mask[i] |= inside[i];
            }
            if (group.Key == Whole)
            {
                foreach (int node in exits)
                {
                    Allow(trie, node, mask);
                }
                continue;
            }
            (int back, int parent, _) = callers[group.Key];
            Place outside = Close([(back, parent)]);
            foreach (int node in exits)
            {
                if (!outside.IsDead)
                {
                    Allow(trie, node, mask);
                    Walk(trie, node + 1, trie.Skip[node], trie.Depth[node], outside, mask, null);
                }
            }
        }
        if (place.Accepts)
        {
            foreach (int id in ends)
            {
                mask[id >> 6] |= 1UL << (id & 63);
            }
        }
        if (trie == Later && kept < MaxKept)
        {
            kept++;
            place.Mask = mask;
        }
        return mask;
    }

    (ulong[] Inside, int[] Exits) Relative(Place place, TokenTrie trie)
    {
        if (trie == Later && place.Relative is { } known)
        {
            return known;
        }
        var mask = new ulong[words];
        var exits = new List<int>();
        Walk(trie, 0, trie.Byte.Length, 0, place, mask, exits);
        (ulong[], int[]) result = (mask, [.. exits]);
        if (trie == Later && kept < MaxKept)
        {
            kept++;
            place.Relative = result;
        }
        return result;
    }

    // Nodes from..to, which lie below depth; a token is allowed where its last byte leads to a place from which a text can go on or end.
    void Walk(TokenTrie trie, int from, int to, int depth, Place start, ulong[] mask, List<int>? exits)
    {
        var path = new Place[trie.MaxDepth + 1];
        path[depth] = start;
        for (int node = from; node < to;)
        {
            int here = trie.Depth[node];
            Place next = StepOver(path[here - 1], trie.Byte[node]);
            if (next.Leaves)
            {
                exits?.Add(node);
            }
            if (next.Pairs.Length == 0 && !next.Accepts)
            {
                node = trie.Skip[node];
                continue;
            }
            Allow(trie, node, mask);
            path[here] = next;
            node++;
        }
    }

    static void Allow(TokenTrie trie, int node, ulong[] mask)
    {
        for (int i = trie.TokenStart(node); i < trie.TokenEnd[node]; i++)
        {
            int id = trie.Tokens[i];
            mask[id >> 6] |= 1UL << (id & 63);
        }
    }

    Place StepOver(Place place, byte value)
    {
        Place?[] next = place.Next ??= new Place?[256];
        return next[value] ??= Compute(place, value);
    }

    Place Compute(Place place, byte value)
    {
        var reached = new List<(int State, int Caller)>();
        foreach (long pair in place.Pairs)
        {
            foreach (ByteNfa.Step step in nfa.StepsOf(StateOf(pair)))
            {
                if (value >= step.Low && value <= step.High)
                {
                    reached.Add((step.To, CallerOf(pair)));
                }
            }
        }
        return Close(reached);
    }

    /// <summary>The place of these pairs and of all that follows without a byte.</summary>
    Place Close(List<(int State, int Caller)> from)
    {
        var seen = new HashSet<long>();
        var open = new Stack<(int State, int Caller)>(from);
        var pairs = new List<long>();
        bool accepts = false, leaves = false;
        while (open.TryPop(out (int State, int Caller) at))
        {
            long pair = Pair(at.State, at.Caller);
            if (!seen.Add(pair))
            {
                continue;
            }
            if (seen.Count > MaxPairs)
            {
                throw new InvalidRequestException("The schema or pattern is too ambiguous: too many readings of one text have to be followed.");
            }
            if (nfa.StepsOf(at.State).Count > 0)
            {
                pairs.Add(pair);
            }
            foreach (int to in nfa.FreeOf(at.State))
            {
                open.Push((to, at.Caller));
            }
            foreach ((int rule, int back) in nfa.CallsOf(at.State))
            {
                if (Caller(back, at.Caller) is >= 0 and int caller)
                {
                    open.Push((nfa.StartOf(rule), caller));
                }
            }
            if (nfa.IsEnd(at.State))
            {
                switch (at.Caller)
                {
                    case Whole:
                        accepts = true;
                        break;
                    case Unknown:
                        leaves = true;
                        break;
                    default:
                        (int back, int parent, _) = callers[at.Caller];
                        open.Push((back, parent));
                        break;
                }
            }
        }
        pairs.Sort();
        return Of([.. pairs], accepts, leaves);
    }

    // Deeper than that, a text cannot go: JSON readers have such a limit too.
    int Caller(int back, int parent)
    {
        if (callerIds.TryGetValue((back, parent), out int id))
        {
            return id;
        }
        int depth = callers[parent].Depth + 1;
        if (depth > MaxCalls)
        {
            return -1;
        }
        id = callers.Count;
        callers.Add((back, parent, depth));
        callerIds[(back, parent)] = id;
        return id;
    }

    Place Of(long[] pairs, bool accepts, bool leaves)
    {
        var key = new Key(pairs, accepts, leaves);
        if (!places.TryGetValue(key, out Place? place))
        {
            if (places.Count == MaxPlaces)
            {
                throw new InvalidRequestException($"The schema or pattern leads to more than {MaxPlaces} places; it is too large to be enforced.");
            }
            places[key] = place = new(pairs, accepts, leaves);
        }
        return place;
    }

    static long Pair(int state, int caller) => ((long)caller << 32) | (uint)state;

    static int StateOf(long pair) => (int)pair;

    static int CallerOf(long pair) => (int)(pair >> 32);

    readonly record struct Key(long[] Pairs, bool Accepts, bool Leaves)
    {
        public bool Equals(Key other) => Accepts == other.Accepts && Leaves == other.Leaves && Pairs.AsSpan().SequenceEqual(other.Pairs);

        public override int GetHashCode()
        {
            ulong hash = (Accepts ? 3UL : 1UL) + (Leaves ? 4UL : 0UL);
            foreach (long pair in Pairs)
            {
                hash = BitOperations.RotateLeft(hash * 0x9E3779B97F4A7C15, 29) ^ (ulong)pair;
            }
            return hash.GetHashCode();
        }
    }

    /// <summary>A place in a text: where the automata may be.</summary>
    internal sealed class Place(long[] pairs, bool accepts, bool leaves)
    {
        /// <summary>(caller, state), sorted, of states from which a byte leads on.</summary>
        public long[] Pairs => pairs;

        /// <summary>The text may end here.</summary>
        public bool Accepts => accepts;

        /// <summary>The rule of an unknown caller may end here.</summary>
        public bool Leaves => leaves;

        public bool IsDead => pairs.Length == 0 && !accepts && !leaves;

        public Place?[]? Next { get; set; }

        public ulong[]? Mask { get; set; }

        public (ulong[] Inside, int[] Exits)? Relative { get; set; }
    }
}

/// <summary>A text in the making. Not safe for concurrent use; copies are cheap.</summary>
sealed class MaskCursor
{
    readonly TokenMasks masks;
    TokenMasks.Place place;
    bool atStart = true;

    internal MaskCursor(TokenMasks masks) => (this.masks, place) = (masks, masks.Start);

    MaskCursor(MaskCursor other) => (masks, place, atStart, HasEnded) = (other.masks, other.place, other.atStart, other.HasEnded);

    /// <summary>An end token was accepted: nothing follows.</summary>
    public bool HasEnded { get; private set; }

    /// <summary>The text is whole: it may end here.</summary>
    public bool CanEnd => place.Accepts;

    /// <summary>Writes the mask: bit <c>id</c> of word <c>id / 64</c> says that the token may come next. All zero: none may (it has ended).</summary>
    /// <param name="mask"><see cref="TokenMasks.MaskWords"/> words</param>
    public void Fill(Span<ulong> mask)
    {
        if (HasEnded)
        {
            mask.Clear();
            return;
        }
        masks.Fill(place, atStart, mask);
    }

    /// <summary>Goes on by a token; false, and nothing changes, if it may not come.</summary>
    public bool Accept(int id)
    {
        if (HasEnded)
        {
            return false;
        }
        if (masks.IsEnd(id) && place.Accepts)
        {
            return HasEnded = true;
        }
        ReadOnlySpan<byte> bytes = (atStart ? masks.First : masks.Later).BytesOf(id);
        if (bytes.IsEmpty || masks.Step(place, bytes) is not { } next)
        {
            return false;
        }
        (place, atStart) = (next, false);
        return true;
    }

    /// <summary>The same place, to go on from separately: for drafts that may be taken back.</summary>
    public MaskCursor Fork() => new(this);
}
