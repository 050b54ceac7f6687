using System.Globalization;
using System.Text;

namespace KvCuda.Text.Patterns;

/// <summary>
/// Reads the regular expressions of tokenizer files: Oniguruma's Ruby syntax, as far as such files use it. What it does not
/// know it refuses, naming it.
/// </summary>
sealed class PatternParser
{
    const int MaxRepeat = 1000, MaxDepth = 50;

    readonly int[] text;
    readonly string source;
    int at, depth;
    bool ignoreCase;

    PatternParser(string pattern)
    {
        source = pattern;
        text = [.. pattern.EnumerateRunes().Select(r => r.Value)];
    }

    public static PatternNode Parse(string pattern)
    {
        var parser = new PatternParser(pattern);
        PatternNode node = parser.Alternatives();
        return parser.at == parser.text.Length ? node : throw parser.Unsupported("a closing bracket without an opening one");
    }

    int Peek => at < text.Length ? text[at] : -1;

    bool Take(int character)
    {
        if (Peek != character)
        {
            return false;
        }

        at++;
        return true;
    }

    int Next() => at < text.Length ? text[at++] : throw Unsupported("an end in the middle");

    PatternNode Alternatives()
    {
        if (++depth > MaxDepth)
        {
            throw Unsupported($"nesting deeper than {MaxDepth}");
        }

        bool outerCase = ignoreCase;
        var options = new List<PatternNode>();
        do
        {
            var items = new List<PatternNode>();
            while (Peek is not (-1 or '|' or ')'))
            {
                if (Quantified() is { } item)
                {
                    items.Add(item);
                }
            }

            options.Add(items.Count == 1 ? items[0] : new PatternNode.Chain(items));
        }
        while (Take('|'));

        ignoreCase = outerCase;
        depth--;
        return options.Count == 1 ? options[0] : new PatternNode.Either(options);
    }

    PatternNode? Quantified()
    {
        PatternNode? atom = Atom();
        while (atom is not null)
        {
            (int min, int max) = (0, -1);
            bool interval = false, exact = false;
            switch (Peek)
            {
                case '*':
                    at++;
                    break;
                case '+':
                    at++;
                    min = 1;
                    break;
                case '?':
                    at++;
                    max = 1;
                    break;
                case '{' when TryInterval(out min, out max, out exact):
                    interval = true;
                    break;
                default:
                    return atom;
            }

            // After an interval Ruby's + means "again", and ? after {n} means "or not at all".
            bool possessive = !interval && Take('+');
            bool lazy = !possessive && !(interval && exact) && Take('?');
            if ((max < 0 || max > 1) && atom.CanBeEmpty)
            {
                throw Unsupported("a repeated group that can match nothing");
            }

            atom = new PatternNode.Repeat(atom, min, max, lazy);
            atom = possessive ? new PatternNode.Atomic(atom) : atom;
        }

        return null;
    }

    bool TryInterval(out int min, out int max, out bool exact)
    {
        int start = at++;
        int? low = Number();
        int? high = low;
        exact = true;
        if (Take(','))
        {
            exact = false;
            high = Number();
        }

        if (!Take('}') || (low is null && high is null))
        {
            at = start;
            (min, max) = (0, 0);
            throw Unsupported("a brace that is not an interval");
        }

        (min, max) = (low ?? 0, high ?? -1);
        if (min > MaxRepeat || max > MaxRepeat || (max >= 0 && max < min))
        {
            throw Unsupported($"an interval that is reversed or beyond {MaxRepeat}");
        }

        return true;
    }

    int? Number()
    {
        int start = at, value = 0;
        while (Peek is >= '0' and <= '9')
        {
            value = Math.Min(MaxRepeat + 1, (value * 10) + Next() - '0');
        }

        return at == start ? null : value;
    }

    PatternNode? Atom()
    {
        int c = Next();
        switch (c)
        {
            case '(':
                return Group();
            case '[':
                return new PatternNode.Set(Cased(Class()));
            case '.':
                return new PatternNode.Set(CharSet.AnyButLineEnd);
            case '^' or '$':
                return new PatternNode.Anchor((char)c);
            case '\\':
                return Peek is 'A' or 'z' or 'Z' or 'b' or 'B'
                    ? new PatternNode.Anchor((char)Next()) : new PatternNode.Set(Cased(Escape()));
            case '*' or '+' or '?':
                throw Unsupported("a quantifier without anything before it");
            default:
                return new PatternNode.Set(Cased(new CharSet.Range(c, c)));
        }
    }

    PatternNode? Group()
    {
        PatternNode node;
        bool outerCase = ignoreCase;
        if (!Take('?'))
        {
            node = Alternatives();
        }
        else
        {
            switch (Next())
            {
                case ':':
                    node = Alternatives();
                    break;
                case '>':
                    node = new PatternNode.Atomic(Alternatives());
                    break;
                case '=':
                    node = new PatternNode.Look(Alternatives(), Behind: false, Negative: false);
                    break;
                case '!':
                    node = new PatternNode.Look(Alternatives(), Behind: false, Negative: true);
                    break;
                case '<' when Peek is '=' or '!':
                    bool negative = Next() == '!';
                    node = new PatternNode.Look(Alternatives(), Behind: true, negative);
                    if (((PatternNode.Look)node).Body.FixedLength < 0)
                    {
                        throw Unsupported("a look behind of varying length");
                    }

                    break;
                case 'i' when Take(':'):
                    ignoreCase = true;
                    node = Alternatives();
                    break;
                case 'i' when Take(')'): // to the end of the enclosing group
                    ignoreCase = true;
                    return null;
                default:
                    throw Unsupported("this kind of group");
            }
        }

        ignoreCase = outerCase;
        return Take(')') ? node : throw Unsupported("a group that is not closed");
    }

    CharSet Cased(CharSet set) => ignoreCase ? new CharSet.IgnoreCase(set) : set;

    CharSet Class()
    {
        if (++depth > MaxDepth)
        {
            throw Unsupported($"nesting deeper than {MaxDepth}");
        }

        bool negative = Take('^');
        var members = new List<CharSet>();
        bool first = true;
        while (first || Peek != ']')
        {
            int start = at, c = Next();
            if (c == '&' && Peek == '&')
            {
                throw Unsupported("an intersection of classes");
            }

            if (c == '[' && Peek == ':')
            {
                throw Unsupported("a POSIX class");
            }

            if (c == '[')
            {
                members.Add(Class());
            }
            else
            {
                at = start;
                int from = Single(out CharSet? set);
                if (set is not null)
                {
                    members.Add(set);
                }
                else if (Peek == '-' && at + 1 < text.Length && text[at + 1] != ']')
                {
                    at++;
                    int to = Single(out CharSet? end);
                    if (end is not null || to < from)
                    {
                        throw Unsupported("a range in a class that does not go up");
                    }

                    members.Add(new CharSet.Range(from, to));
                }
                else
                {
                    members.Add(new CharSet.Range(from, from));
                }
            }

            first = false;
        }

        at++;
        depth--;
        CharSet all = new CharSet.Union(members);
        return negative ? new CharSet.Not(ignoreCase ? new CharSet.IgnoreCase(all) : all) : all;
    }

    /// <summary>A member of a class: one character, or a set.</summary>
    int Single(out CharSet? set)
    {
        set = null;
        int c = Next();
        if (c != '\\')
        {
            return c;
        }

        int? literal = Literal();
        if (literal is null)
        {
            set = Escape();
        }

        return literal ?? 0;
    }

    CharSet Escape()
    {
        if (Literal() is { } literal)
        {
            return new CharSet.Range(literal, literal);
        }

        int c = Next();
        switch (c)
        {
            case 's':
                return CharSet.Space;
            case 'S':
                return new CharSet.Not(CharSet.Space);
            case 'd':
                return CharSet.Digit;
            case 'D':
                return new CharSet.Not(CharSet.Digit);
            case 'w':
                return CharSet.Word;
            case 'W':
                return new CharSet.Not(CharSet.Word);
            case 'h':
                return CharSet.HexDigit;
            case 'H':
                return new CharSet.Not(CharSet.HexDigit);
            case 'p' or 'P' when Take('{'):
                bool negative = (c == 'P') != Take('^');
                var name = new StringBuilder();
                while (!Take('}'))
                {
                    name.Append(new Rune(Next()));
                }

                CharSet set = CharSet.Property(name.ToString()) ?? throw Unsupported($"the property \\p{{{name}}}");
                return negative ? new CharSet.Not(set) : set;
            default:
                throw Unsupported($"the escape \\{new Rune(c)}");
        }
    }

    /// <summary>The character an escape stands for; null, and nothing taken, if it stands for something else.</summary>
    int? Literal()
    {
        int c = Peek;
        int? value = c switch
        {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'f' => '\f',
            'v' => '\v',
            'a' => '\a',
            'e' => 0x1B,
            '0' when at + 1 >= text.Length || text[at + 1] is < '0' or > '9' => 0,
            >= 0 and < 128 when !char.IsAsciiLetterOrDigit((char)c) => c,
            _ => null,
        };
        if (value is not null)
        {
            at++;
            return value;
        }

        if (c is not ('x' or 'u'))
        {
            return null;
        }

        at++;
        bool braces = c == 'x' && Take('{');
        int digits = braces ? 6 : c == 'x' ? 2 : 4;
        int start = at;
        while (at - start < digits && Peek is >= 0 and < 128 && char.IsAsciiHexDigit((char)Peek))
        {
            at++;
        }

        string hex = string.Concat(text[start..at].Select(d => (char)d));
        if (hex.Length == 0 || (braces && !Take('}')) || (c == 'u' && hex.Length != 4))
        {
            throw Unsupported("a malformed code point");
        }

        int code = int.Parse(hex, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        return c == 'x' && !braces && code > 127 ? throw Unsupported("a byte above \\x7F") : code;
    }

    UnsupportedModelException Unsupported(string what) =>
        new($"The pattern {source} has at position {at} {what}, which is not supported.");
}
