// A grammar over bytes: automata that may call one another.
namespace KvCuda.Text.Masks;

/// <summary>
/// Rules over bytes. A rule is a nondeterministic automaton whose steps take a byte of a range, nothing, or a text of another rule
/// (a recursive transition network). Built once, then only read.
/// </summary>
sealed class ByteNfa
{
    /// <summary>States that a grammar may have: hostile schemas and patterns end here with a typed error.</summary>
    const int MaxStates = 200_000;

    public readonly record struct Step(byte Low, byte High, int To);

    readonly List<List<Step>> steps = [];
    readonly List<List<int>> free = [];
    readonly List<List<(int Rule, int Return)>> calls = [];
    readonly List<bool> ends = [];
    readonly List<int> starts = [];

    public int StateCount => steps.Count;

    /// <summary>A new state, from which nothing leads yet.</summary>
    public int State()
    {
        if (steps.Count == MaxStates)
        {
            throw new InvalidRequestException($"The schema or pattern needs more than {MaxStates} states; make its texts, lists or counts shorter.");
        }
        steps.Add([]);
        free.Add([]);
        calls.Add([]);
        ends.Add(false);
        return steps.Count - 1;
    }

    /// <summary>A new rule: its number; <see cref="StartOf"/> is where it begins.</summary>
    public int Rule()
    {
        starts.Add(State());
        return starts.Count - 1;
    }

    public int StartOf(int rule) => starts[rule];

    public int RuleCount => starts.Count;

    /// <summary>A rule's text may end here.</summary>
    public void End(int state) => ends[state] = true;

    public bool IsEnd(int state) => ends[state];

    public IReadOnlyList<Step> StepsOf(int state) => steps[state];

    public IReadOnlyList<int> FreeOf(int state) => free[state];

    public IReadOnlyList<(int Rule, int Return)> CallsOf(int state) => calls[state];

    public void Add(int from, byte low, byte high, int to) => steps[from].Add(new(low, high, to));

    public void Free(int from, int to) => free[from].Add(to);

    /// <summary>From a state over a text of a rule; returns where that leads.</summary>
    public int Call(int from, int rule)
    {
        int to = State();
        calls[from].Add((rule, to));
        return to;
    }

    /// <summary>From a state over fixed bytes; returns where that leads.</summary>
    public int Literal(int from, ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
        {
            int to = State();
            Add(from, b, b, to);
            from = to;
        }
        return from;
    }

    /// <summary>From a state over one byte of some ranges.</summary>
    public int Any(int from, params ReadOnlySpan<(char Low, char High)> ranges)
    {
        int to = State();
        foreach ((char low, char high) in ranges)
        {
            Add(from, (byte)low, (byte)high, to);
        }
        return to;
    }

    /// <summary>From a state over a body between so and so many times (-1: any number).</summary>
    public int Repeat(int from, int min, int max, Func<int, int> body)
    {
        int at = from;
        for (int i = 0; i < min; i++)
        {
            at = body(at);
        }
        if (max < 0)
        {
            int loop = State(), after = State();
            Free(at, loop);
            Free(body(loop), loop);
            Free(loop, after);
            return after;
        }
        int end = State();
        Free(at, end);
        for (int i = min; i < max; i++)
        {
            at = body(at);
            Free(at, end);
        }
        return end;
    }
}
