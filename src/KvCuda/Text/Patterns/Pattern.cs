using System.Buffers;
using System.Text;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Patterns;

/// <summary>
/// A regular expression over characters (not UTF-16 units) of UTF-8 text: a small backtracking machine, first match wins, as in
/// the library that the tokenizer files were written for.
/// </summary>
sealed class Pattern
{
    const int MaxProgram = 20_000;

    enum Op : byte
    {
        Set,        // one character of Set
        Run,        // Set, at least A and at most B times (B -1: no limit), as many as possible, fewer on the way back
        Split,      // go to A; on the way back to B
        Jump,       // to A
        Look,       // the program up to A must match (Negative: must not) here, or B characters back
        Atomic,     // the program up to A, no second try
        Anchor,
        Done,
    }

    readonly record struct Step(Op Op, CharSet? Set = null, int A = 0, int B = 0, bool Negative = false, char Kind = ' ');

    readonly record struct Choice(int Step, int At, int Least); // Least >= 0: a run that may give back characters down to there

    // The choices still open, of this match and of those it is nested in; kept per thread to spare an allocation per match.
    [ThreadStatic]
    static Choice[]? choices;

    readonly List<Step> program = [];
    readonly string source;

    public Pattern(string pattern)
    {
        source = pattern;
        Emit(PatternParser.Parse(pattern));
        Add(new Step(Op.Done));
    }

    /// <summary>The first match at or after <paramref name="from"/>.</summary>
    public bool Find(ReadOnlySpan<byte> text, int from, out int start, out int end)
    {
        long budget = 5_000_000 + (1000L * text.Length);
        for (start = from; start <= text.Length; start += Length(text, start))
        {
            end = Match(text, 0, start, 0, ref budget);
            if (end >= 0)
            {
                return true;
            }
        }

        end = -1;
        return false;
    }

    static int Length(ReadOnlySpan<byte> text, int at)
    {
        Rune.DecodeFromUtf8(text[at..], out _, out int length);
        return Math.Max(1, length);
    }

    /// <summary>The end of a match of the program that begins at <paramref name="step"/>, or -1.</summary>
    /// <param name="text">The text.</param>
    /// <param name="step">Where the program begins.</param>
    /// <param name="at">Where the match begins.</param>
    /// <param name="bottom">How many choices belong to the matches this one is nested in.</param>
    /// <param name="budget">Steps that may still be taken.</param>
    int Match(ReadOnlySpan<byte> text, int step, int at, int bottom, ref long budget)
    {
        int top = bottom;
        while (true)
        {
            if (--budget < 0)
            {
                throw new UnsupportedModelException($"The pattern {source} takes too many steps on a text of {text.Length} bytes.");
            }

            Step s = program[step];
            bool ok = true;
            switch (s.Op)
            {
                case Op.Done:
                    return at;
                case Op.Set:
                    ok = Accepts(s.Set!, text, at, out int length);
                    at += length;
                    step++;
                    break;
                case Op.Run:
                    int least = at, count = 0;
                    while (count != s.B && Accepts(s.Set!, text, at, out length))
                    {
                        at += length;
                        count++;
                        least = count == s.A ? at : least;
                    }

                    budget -= count;
                    ok = count >= s.A;
                    if (ok && at > least)
                    {
                        Push(ref top, new Choice(step + 1, at, least));
                    }

                    step++;
                    break;
                case Op.Split:
                    Push(ref top, new Choice(s.B, at, -1));
                    step = s.A;
                    break;
                case Op.Jump:
                    step = s.A;
                    break;
                case Op.Look:
                    int from = Back(text, at, s.B);
                    ok = (from >= 0 && Match(text, step + 1, from, top, ref budget) >= 0) != s.Negative;
                    step = s.A;
                    break;
                case Op.Atomic:
                    int end = Match(text, step + 1, at, top, ref budget);
                    ok = end >= 0;
                    at = end;
                    step = s.A;
                    break;
                default:
                    ok = Holds(s.Kind, text, at);
                    step++;
                    break;
            }

            if (ok)
            {
                continue;
            }

            if (top == bottom)
            {
                return -1;
            }

            Choice choice = choices![--top];
            (step, at) = (choice.Step, choice.At);
            if (choice.Least >= 0)
            {
                at = Back(text, at, 1);
                if (at > choice.Least)
                {
                    Push(ref top, choice with { At = at });
                }
            }
        }
    }

    static void Push(ref int top, Choice choice)
    {
        choices ??= new Choice[256];
        if (top == choices.Length)
        {
            Array.Resize(ref choices, top * 2);
        }

        choices[top++] = choice;
    }

    static bool Accepts(CharSet set, ReadOnlySpan<byte> text, int at, out int length)
    {
        length = 0;
        if (at >= text.Length)
        {
            return false;
        }

        int character = text[at];
        length = 1;
        if (character >= 0x80)
        {
            Rune.DecodeFromUtf8(text[at..], out Rune rune, out length);
            character = rune.Value;
        }

        return set.Contains(character);
    }

    static int Back(ReadOnlySpan<byte> text, int at, int characters)
    {
        for (int i = 0; i < characters; i++)
        {
            if (Rune.DecodeLastFromUtf8(text[..at], out _, out int length) == OperationStatus.NeedMoreData && length == 0)
            {
                return -1;
            }

            at -= length;
        }

        return at;
    }

    // Ruby's ^ and $ are about lines.
    static bool Holds(char kind, ReadOnlySpan<byte> text, int at) => kind switch
    {
        '^' => at == 0 || text[at - 1] == '\n',
        '$' => at == text.Length || text[at] == '\n',
        'A' => at == 0,
        'z' => at == text.Length,
        'Z' => at == text.Length || (at == text.Length - 1 && text[at] == '\n'),
        'b' => IsBoundary(text, at),
        _ => !IsBoundary(text, at),
    };

    static bool IsBoundary(ReadOnlySpan<byte> text, int at)
    {
        Rune.DecodeLastFromUtf8(text[..at], out Rune before, out _);
        Rune.DecodeFromUtf8(text[at..], out Rune after, out _);
        return (at > 0 && WordCharacter.Is(before)) != (at < text.Length && WordCharacter.Is(after));
    }

    int Add(Step step)
    {
        if (program.Count == MaxProgram)
        {
            throw new UnsupportedModelException($"The pattern {source} is too large.");
        }

        program.Add(step);
        return program.Count - 1;
    }

    void Emit(PatternNode node)
    {
        switch (node)
        {
            case PatternNode.Set set:
                Add(new Step(Op.Set, set.Chars));
                break;
            case PatternNode.Chain chain:
                chain.Items.ForEach(Emit);
                break;
            case PatternNode.Either either:
                EmitEither(either.Options);
                break;
            case PatternNode.Repeat { Body: PatternNode.Set set, Lazy: false } repeat:
                Add(new Step(Op.Run, set.Chars, repeat.Min, repeat.Max));
                break;
            case PatternNode.Repeat repeat:
                EmitRepeat(repeat);
                break;
            case PatternNode.Atomic atomic:
                EmitBlock(new Step(Op.Atomic), atomic.Body);
                break;
            case PatternNode.Look look:
                EmitBlock(new Step(Op.Look, B: look.Behind ? look.Body.FixedLength : 0, Negative: look.Negative), look.Body);
                break;
            case PatternNode.Anchor anchor:
                Add(new Step(Op.Anchor, Kind: anchor.Kind));
                break;
        }
    }

    void EmitBlock(Step step, PatternNode body)
    {
        int head = Add(step);
        Emit(body);
        Add(new Step(Op.Done));
        program[head] = step with { A = program.Count };
    }

    void EmitEither(List<PatternNode> options)
    {
        var jumps = new List<int>();
        for (int i = 0; i < options.Count; i++)
        {
            bool last = i == options.Count - 1;
            int split = last ? -1 : Add(new Step(Op.Split));
            Emit(options[i]);
            if (!last)
            {
                jumps.Add(Add(new Step(Op.Jump)));
                program[split] = new Step(Op.Split, A: split + 1, B: program.Count);
            }
        }

        jumps.ForEach(j => program[j] = new Step(Op.Jump, A: program.Count));
    }

    void EmitRepeat(PatternNode.Repeat repeat)
    {
        for (int i = 0; i < repeat.Min; i++)
        {
            Emit(repeat.Body);
        }

        var exits = new List<int>();
        for (int i = repeat.Min; i < repeat.Max; i++)
        {
            exits.Add(Add(new Step(Op.Split)));
            Emit(repeat.Body);
        }

        if (repeat.Max < 0)
        {
            int head = Add(new Step(Op.Split));
            exits.Add(head);
            Emit(repeat.Body);
            Add(new Step(Op.Jump, A: head));
        }

        foreach (int exit in exits)
        {
            program[exit] = repeat.Lazy
                ? new Step(Op.Split, A: program.Count, B: exit + 1) : new Step(Op.Split, A: exit + 1, B: program.Count);
        }
    }
}
