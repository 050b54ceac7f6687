// Regular expressions as rules over bytes, plain or as the content of a JSON string.
using System.Text;
using KvCuda.Text.Patterns;

namespace KvCuda.Text.Masks;

/// <summary>
/// Adds a regular expression to a grammar. The syntax is that of JSON Schema (ECMA-262) as far as it is regular: no look-arounds, no
/// back references, <c>^</c> and <c>$</c> only at the ends; <c>\d</c> and <c>\w</c> are ASCII.
/// </summary>
sealed class PatternRules(ByteNfa nfa, bool json)
{
    static readonly CharSet Anything = new CharSet.Range(0, 0x10FFFF);

    readonly Dictionary<CharSet, List<(int Low, int High)>> ranges = new(ReferenceEqualityComparer.Instance);

    /// <summary>From a state over texts that the expression describes.</summary>
    /// <param name="from">where to begin</param>
    /// <param name="pattern">the expression</param>
    /// <param name="search">true: the expression may match anywhere, as in JSON Schema; false: it is the whole text</param>
    /// <exception cref="InvalidRequestException">It is malformed, or not regular.</exception>
    public int Add(int from, string pattern, bool search)
    {
        PatternNode node;
        try
        {
            node = PatternParser.Parse(Ascii(pattern));
        }
        catch (Exception error) when (error is UnsupportedModelException or ModelFormatException)
        {
            throw new InvalidRequestException($"The pattern {Shown(pattern)} cannot be used: {error.Message}", error);
        }
        List<PatternNode> options = node is PatternNode.Either either ? either.Options : [node];
        int to = nfa.State();
        foreach (PatternNode option in options)
        {
            List<PatternNode> items = option is PatternNode.Chain chain ? [.. chain.Items] : [option];
            bool begins = items is [PatternNode.Anchor { Kind: '^' or 'A' }, ..], ends = items is [.., PatternNode.Anchor { Kind: '$' or 'z' or 'Z' }];
            items = items[(begins ? 1 : 0)..(ends && items.Count > (begins ? 1 : 0) ? ^1 : ^0)];
            int at = search && !begins ? AnyText(from) : from;
            foreach (PatternNode item in items)
            {
                at = Node(at, item, pattern);
            }
            nfa.Free(search && !ends ? AnyText(at) : at, to);
        }
        return to;
    }

    int AnyText(int from) => nfa.Repeat(from, 0, -1, at => Set(at, Anything));

    int Node(int from, PatternNode node, string pattern)
    {
        switch (node)
        {
            case PatternNode.Set set:
                return Set(from, set.Chars);
            case PatternNode.Chain chain:
                foreach (PatternNode item in chain.Items)
                {
                    from = Node(from, item, pattern);
                }
                return from;
            case PatternNode.Either either:
                int to = nfa.State();
                foreach (PatternNode option in either.Options)
                {
                    nfa.Free(Node(from, option, pattern), to);
                }
                return to;
            case PatternNode.Repeat repeat:
                // A body of its own entry, so that loops do not lead back into what stands before.
                int entry = nfa.State();
                nfa.Free(from, entry);
                return nfa.Repeat(entry, repeat.Min, repeat.Max, at => Node(at, repeat.Body, pattern));
            default:
                throw new InvalidRequestException($"The pattern {Shown(pattern)} has a {node.GetType().Name.ToLowerInvariant()} that is not regular "
                    + "or stands inside (look-arounds, atomic groups, anchors within); only regular expressions can be enforced.");
        }
    }

    int Set(int from, CharSet set)
    {
        if (!ranges.TryGetValue(set, out List<(int Low, int High)>? list))
        {
            ranges[set] = list = set is CharSet.Range && ReferenceEquals(set, Anything) ? [(0, 0x10FFFF)] : Utf8Ranges.Of(set);
        }
        int to = nfa.State();
        foreach ((int low, int high) in list)
        {
            if (json)
            {
                JsonText.AddCharacters(nfa, from, to, low, high);
            }
            else
            {
                Utf8Ranges.Add(nfa, from, to, low, high);
            }
        }
        return to;
    }

    // \d and \w of ECMA-262 are ASCII; those of tokenizer files, whose parser this is, are Unicode's.
    static string Ascii(string pattern)
    {
        var text = new StringBuilder();
        bool inside = false;
        for (int i = 0; i < pattern.Length; i++)
        {
            char c = pattern[i];
            if (c == '\\' && i + 1 < pattern.Length)
            {
                string? set = pattern[++i] switch { 'd' or 'D' => "0-9", 'w' or 'W' => "A-Za-z0-9_", _ => null };
                if (set is not null && inside && char.IsUpper(pattern[i]))
                {
                    throw new InvalidRequestException($"The pattern {Shown(pattern)} has \\{pattern[i]} within brackets; write the set out.");
                }
                text.Append(set is null ? $"\\{pattern[i]}" : inside ? set : char.IsUpper(pattern[i]) ? $"[^{set}]" : $"[{set}]");
                continue;
            }
            inside = c == '[' || (inside && c != ']');
            text.Append(c);
        }
        return text.ToString();
    }

    static string Shown(string pattern) => $"'{(pattern.Length > 80 ? pattern[..80] + "..." : pattern)}'";
}
