namespace KvCuda.Text.Patterns;

/// <summary>A pattern as a tree, before it becomes a program.</summary>
abstract record PatternNode
{
    /// <summary>One character of a set.</summary>
    public sealed record Set(CharSet Chars) : PatternNode;

    /// <summary>One after another.</summary>
    public sealed record Chain(List<PatternNode> Items) : PatternNode;

    /// <summary>The first that leads to a match.</summary>
    public sealed record Either(List<PatternNode> Options) : PatternNode;

    /// <summary>Between so and so many times; Max of -1 = without limit.</summary>
    public sealed record Repeat(PatternNode Body, int Min, int Max, bool Lazy) : PatternNode;

    /// <summary>Matches as if alone: no second try once it has matched.</summary>
    public sealed record Atomic(PatternNode Body) : PatternNode;

    /// <summary>(?=..) (?!..) (?&lt;=..) (?&lt;!..): looks, takes nothing.</summary>
    public sealed record Look(PatternNode Body, bool Behind, bool Negative) : PatternNode;

    /// <summary>A place in the text.</summary>
    public sealed record Anchor(char Kind) : PatternNode;

    /// <summary>Whether it can match nothing.</summary>
    public bool CanBeEmpty => this switch
    {
        Set => false,
        Chain c => c.Items.TrueForAll(i => i.CanBeEmpty),
        Either e => e.Options.Exists(o => o.CanBeEmpty),
        Repeat r => r.Min == 0 || r.Body.CanBeEmpty,
        Atomic a => a.Body.CanBeEmpty,
        _ => true,
    };

    /// <summary>How many characters it always takes, or -1.</summary>
    public int FixedLength => this switch
    {
        Set => 1,
        Chain c => c.Items.Aggregate(0, (sum, i) => sum < 0 || i.FixedLength < 0 ? -1 : sum + i.FixedLength),
        Either e => e.Options.TrueForAll(o => o.FixedLength == e.Options[0].FixedLength) ? e.Options[0].FixedLength : -1,
        Repeat r => r.Min == r.Max && r.Body.FixedLength >= 0 ? r.Min * r.Body.FixedLength : -1,
        Atomic a => a.Body.FixedLength,
        _ => 0,
    };
}
