using KvCuda.Text.Patterns;

namespace KvCuda.Text.Pipeline;

/// <summary>Cuts at every match of a scanner's pattern, which match everything.</summary>
sealed class ScannerSplitter(WordScanner scanner) : Splitter
{
    protected override void Split(ReadOnlySpan<byte> text, int offset, bool first, Pieces output)
    {
        for (int at = 0; at < text.Length;)
        {
            int end = scanner.Next(text, at);
            output.Add(offset + at, offset + end, first && at == 0);
            at = end;
        }
    }
}

/// <summary>What becomes of the matches of a splitter.</summary>
enum SplitBehavior
{
    /// <summary>Left out.</summary>
    Removed,

    /// <summary>A piece each.</summary>
    Isolated,

    /// <summary>Added to the piece before.</summary>
    MergedWithPrevious,

    /// <summary>Added to the piece after.</summary>
    MergedWithNext,

    /// <summary>Matches in a row are one piece.</summary>
    Contiguous,
}

/// <summary>Cuts a text in matches and what lies between them, then arranges these as a <see cref="SplitBehavior"/> says.</summary>
abstract class MatchSplitter(SplitBehavior behavior, bool invert) : Splitter
{
    protected readonly record struct Part(int Start, int End, bool Match);

    /// <summary>Adds matches and gaps, in order, covering the text.</summary>
    protected abstract void FindParts(ReadOnlySpan<byte> text, List<Part> parts);

    protected sealed override void Split(ReadOnlySpan<byte> text, int offset, bool first, Pieces output)
    {
        var parts = new List<Part>();
        FindParts(text, parts);
        if (invert)
        {
            for (int i = 0; i < parts.Count; i++)
            {
                parts[i] = parts[i] with { Match = !parts[i].Match };
            }
        }

        // As in tokenizers' NormalizedString::split: of several matches in a row, only one is merged into its neighbour.
        if (behavior == SplitBehavior.MergedWithNext)
        {
            parts.Reverse();
        }

        var joined = new List<Part>(parts.Count);
        bool previous = false;
        foreach (Part part in parts)
        {
            bool join = joined.Count > 0 && behavior switch
            {
                SplitBehavior.Contiguous => part.Match == previous,
                SplitBehavior.MergedWithPrevious or SplitBehavior.MergedWithNext => part.Match && !previous,
                _ => false,
            };
            if (join)
            {
                joined[^1] = behavior == SplitBehavior.MergedWithNext
                    ? joined[^1] with { Start = part.Start } : joined[^1] with { End = part.End };
            }
            else
            {
                joined.Add(part);
            }

            previous = part.Match;
        }

        if (behavior == SplitBehavior.MergedWithNext)
        {
            joined.Reverse();
        }

        foreach (Part part in joined)
        {
            if (behavior != SplitBehavior.Removed || !part.Match)
            {
                output.Add(offset + part.Start, offset + part.End, first && part.Start == 0);
            }
        }
    }

    /// <summary>Adds a match, and the gap before it.</summary>
    protected static void AddMatch(int start, int end, ref int done, List<Part> parts)
    {
        if (start > done)
        {
            parts.Add(new Part(done, start, false));
        }

        parts.Add(new Part(start, end, true));
        done = end;
    }

    protected static void AddRest(int length, int done, List<Part> parts)
    {
        if (length > done)
        {
            parts.Add(new Part(done, length, false));
        }
    }
}

/// <summary>Split by a regular expression.</summary>
sealed class PatternSplitter(Pattern pattern, SplitBehavior behavior, bool invert) : MatchSplitter(behavior, invert)
{
    protected override void FindParts(ReadOnlySpan<byte> text, List<Part> parts)
    {
        int done = 0;
        foreach ((int start, int end) in Matches(pattern, text))
        {
            AddMatch(start, end, ref done, parts);
        }

        AddRest(text.Length, done, parts);
    }

    /// <summary>All matches, one after another.</summary>
    public static List<(int Start, int End)> Matches(Pattern pattern, ReadOnlySpan<byte> text)
    {
        var matches = new List<(int, int)>();
        int at = 0, last = -1;
        while (at <= text.Length && pattern.Find(text, at, out int start, out int end))
        {
            // An empty match counts unless it touches the match before; the search goes on one character further.
            if (start == end)
            {
                at = end + (end < text.Length ? System.Text.Rune.DecodeFromUtf8(text[end..], out _, out int n)
                    == System.Buffers.OperationStatus.Done ? n : 1 : 1);
                if (last == end)
                {
                    continue;
                }
            }
            else
            {
                at = end;
            }

            last = end;
            matches.Add((start, end));
        }

        return matches;
    }
}

/// <summary>Split by a fixed text.</summary>
sealed class LiteralSplitter(byte[] literal, SplitBehavior behavior, bool invert) : MatchSplitter(behavior, invert)
{
    protected override void FindParts(ReadOnlySpan<byte> text, List<Part> parts)
    {
        int done = 0;
        for (int found; (found = text[done..].IndexOf(literal)) >= 0;)
        {
            AddMatch(done + found, done + found + literal.Length, ref done, parts);
        }

        AddRest(text.Length, done, parts);
    }
}

/// <summary>Split where single characters match.</summary>
sealed class CharSplitter(CharSet set, SplitBehavior behavior) : MatchSplitter(behavior, invert: false)
{
    protected override void FindParts(ReadOnlySpan<byte> text, List<Part> parts)
    {
        int done = 0;
        for (int at = 0, length; at < text.Length; at += length)
        {
            System.Text.Rune.DecodeFromUtf8(text[at..], out System.Text.Rune rune, out length);
            if (set.Contains(rune.Value))
            {
                AddMatch(at, at + length, ref done, parts);
            }
        }

        AddRest(text.Length, done, parts);
    }
}
