using System.Globalization;
using System.Text;

namespace KvCuda.Text.Jinja;

/// <summary>The methods of Python's str.</summary>
static class StringMethods
{
    public static Function? Find(string s, string name)
    {
        Func<Arguments, RenderContext, object?>? body = name switch
        {
            "strip" => (a, _) => Strip(s, a.TakeString("chars", null), true, true),
            "lstrip" => (a, _) => Strip(s, a.TakeString("chars", null), true, false),
            "rstrip" => (a, _) => Strip(s, a.TakeString("chars", null), false, true),
            "upper" => (_, _) => Upper(s),
            "lower" => (_, _) => s.ToLowerInvariant(),
            "casefold" => (_, _) => s.ToLowerInvariant(),
            "title" => (_, _) => Title(s),
            "capitalize" => (_, _) => Capitalize(s),
            "swapcase" => (_, _) => string.Concat(s.Select(c => char.IsUpper(c) ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c))),
            "startswith" => (a, _) => Affix(a.Take("prefix"), p => s.StartsWith(p, StringComparison.Ordinal)),
            "endswith" => (a, _) => Affix(a.Take("suffix"), p => s.EndsWith(p, StringComparison.Ordinal)),
            "removeprefix" => (a, _) => a.TakeString("prefix") is var p && s.StartsWith(p, StringComparison.Ordinal) ? s[p.Length..] : s,
            "removesuffix" => (a, _) => a.TakeString("suffix") is var p && p.Length > 0 && s.EndsWith(p, StringComparison.Ordinal)
                ? s[..^p.Length] : s,
            "split" => (a, c) => Split(s, a, c, fromRight: false),
            "rsplit" => (a, c) => Split(s, a, c, fromRight: true),
            "splitlines" => (a, c) => SplitLines(s, Py.Truthy(a.Take("keepends", false)), c),
            "partition" => (a, _) => Partition(s, a.TakeString("sep"), last: false),
            "rpartition" => (a, _) => Partition(s, a.TakeString("sep"), last: true),
            "replace" => (a, c) => Replace(s, a.TakeString("old"), a.TakeString("new"), a.TakeLong("count", -1), c),
            "join" => (a, c) => Join(s, Py.Iterate(a.Take("iterable")), c),
            "find" => (a, _) => Position(s, Py.Find(s, a.TakeString("sub"))),
            "rfind" => (a, _) => Position(s, FindLast(s, a.TakeString("sub"))),
            "index" => (a, _) => Position(s, Py.Find(s, a.TakeString("sub"))) is var at and >= 0
                ? at : throw new RenderException("the text looked for is not there"),
            "count" => (a, _) => Count(s, a.TakeString("sub")),
            "isdigit" or "isdecimal" or "isnumeric" => (_, _) => All(s, r => Rune.IsDigit(r)),
            "isalpha" => (_, _) => All(s, Rune.IsLetter),
            "isalnum" => (_, _) => All(s, r => Rune.IsLetterOrDigit(r)),
            "isspace" => (_, _) => All(s, Rune.IsWhiteSpace),
            "isupper" => (_, _) => s.Any(char.IsLetter) && s == s.ToUpperInvariant(),
            "islower" => (_, _) => s.Any(char.IsLetter) && s == s.ToLowerInvariant(),
            "format" => (a, c) => Format(s, a, c),
            "zfill" => (a, _) => s.PadLeft(Width(a), '0'),
            "ljust" => (a, _) => s.PadRight(Width(a), Fill(a)),
            "rjust" => (a, _) => s.PadLeft(Width(a), Fill(a)),
            "center" => (a, _) => Center(s, Width(a)),
            _ => null,
        };
        return body is null ? null : new Function((a, c) =>
        {
            c.Pay(s.Length / 8);
            return body(a, c) is var result && result is string text ? c.Pay(text) : result;
        }, name);
    }

    /// <summary>Python's str.strip: white space, or any of the given characters.</summary>
    public static string Strip(string s, string? characters, bool left, bool right)
    {
        HashSet<Rune>? set = characters is null ? null : [.. characters.EnumerateRunes()];
        Account.Pay((s.Length + (characters?.Length ?? 0)) / 8);
        Func<Rune, bool> goes = set is null ? IsSpace : set.Contains;
        int start = 0, end = s.Length;
        while (left && start < end && Rune.DecodeFromUtf16(s.AsSpan(start, end - start), out Rune rune, out int n) == 0 && goes(rune))
        {
            start += n;
        }

        while (right && end > start && Rune.DecodeLastFromUtf16(s.AsSpan(start, end - start), out Rune rune, out int n) == 0
            && goes(rune))
        {
            end -= n;
        }

        return s[start..end];
    }

    // Python counts the information separators 1C..1F as white space.
    static bool IsSpace(Rune rune) => Rune.IsWhiteSpace(rune) || rune.Value is >= 0x1C and <= 0x1F;

    /// <summary>Upper case; ß, alone among the letters one meets, becomes two.</summary>
    public static string Upper(string s) => s.ToUpperInvariant().Replace("ß", "SS", StringComparison.Ordinal);

    // "{} and {0} and {name}".format(..), without format specifications.
    static string Format(string s, Arguments arguments, RenderContext context)
    {
        List<object?> positional = arguments.TakeRest();
        Dictionary<string, object?> named = arguments.TakeNamed();
        var text = new StringBuilder();
        int next = 0;
        for (int i = 0; i < s.Length; i++)
        {
            if (s[i] is '{' or '}' && i + 1 < s.Length && s[i + 1] == s[i])
            {
                text.Append(s[i++]);
                continue;
            }

            int end = s[i] == '{' ? s.IndexOf('}', i) : -1;
            if (s[i] is '}' || (s[i] == '{' && end < 0))
            {
                throw new RenderException("format: a brace stands alone");
            }

            if (s[i] != '{')
            {
                text.Append(s[i]);
                continue;
            }

            string field = s[(i + 1)..end];
            i = end;
            if (field.Any(c => !char.IsLetterOrDigit(c) && c != '_'))
            {
                throw new UnsupportedException($"the format field {{{field}}}");
            }

            object? value;
            if (field.Length == 0 || char.IsAsciiDigit(field[0]))
            {
                int at = field.Length == 0 ? next++ : int.TryParse(field, out int index) ? index : int.MaxValue;
                value = at < positional.Count ? positional[at] : throw new RenderException($"format lacks its argument {at}");
            }
            else if (!named.TryGetValue(field, out value))
            {
                throw new RenderException($"format lacks its argument \"{field}\"");
            }

            text.Append(Py.Str(value));
            context.Pay(1);
            if (text.Length > RenderContext.MaxOutput)
            {
                throw new RenderException($"a text grows beyond {RenderContext.MaxOutput} characters");
            }
        }

        return text.ToString();
    }

    public static string Title(string s)
    {
        var text = new StringBuilder(s.Length);
        bool inside = false;
        foreach (char c in s)
        {
            text.Append(inside ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c));
            inside = char.IsLetter(c);
        }

        return text.ToString();
    }

    public static string Capitalize(string s) =>
        s.Length == 0 ? s : char.ToUpperInvariant(s[0]) + s[1..].ToLowerInvariant();

    public static string Replace(string s, string old, string with, long count, RenderContext context)
    {
        long possible = old.Length == 0 ? s.Length + 1 : s.Length / old.Length;
        long most = count < 0 ? possible : Math.Min(count, possible);
        if (s.Length + (most * with.Length) > RenderContext.MaxOutput && Py.Find(s, old) >= 0)
        {
            throw new RenderException($"a text may grow beyond {RenderContext.MaxOutput} characters");
        }

        Account.PayForSearch(s, old);
        if (count < 0 && old.Length > 0)
        {
            return context.Pay(s.Replace(old, with, StringComparison.Ordinal));
        }

        var text = new StringBuilder();
        int at = 0;
        for (long done = 0; done < most; done++)
        {
            int found = old.Length == 0 ? (done == 0 ? 0 : at + 1) : s.IndexOf(old, at, StringComparison.Ordinal);
            if (found < 0 || found > s.Length)
            {
                break;
            }

            text.Append(s, at, found - at).Append(with);
            at = found + old.Length;
        }

        return context.Pay(text.Append(s, at, s.Length - at).ToString());
    }

    public static string Join(string separator, List<object?> items, RenderContext context)
    {
        long length = 0;
        var parts = new List<string>(items.Count);
        foreach (object? item in items)
        {
            parts.Add(item as string ?? throw new RenderException($"join: a {Py.TypeName(item)} is not a str"));
            length += parts[^1].Length + separator.Length;
        }

        return length <= RenderContext.MaxOutput ? context.Pay(string.Join(separator, parts))
            : throw new RenderException($"a text grows beyond {RenderContext.MaxOutput} characters");
    }

    public static string Center(string s, int width)
    {
        int missing = Math.Max(0, width - Py.StringLength(s));
        int left = (missing / 2) + (missing & width & 1);
        return new string(' ', left) + s + new string(' ', missing - left);
    }

    static Sequence Split(string s, Arguments a, RenderContext context, bool fromRight)
    {
        string? separator = a.TakeString("sep", null);
        long most = a.TakeLong("maxsplit", -1);
        if (separator == "")
        {
            throw new RenderException("split: the separator is empty");
        }

        Account.PayForSearch(s, separator ?? "");
        var parts = new List<string>();
        if (separator is null)
        {
            SplitSpace(s, most, fromRight, parts);
        }
        else if (fromRight)
        {
            int end = s.Length;
            while (most != 0 && end > 0 && s.LastIndexOf(separator, end - 1, StringComparison.Ordinal) is var at and >= 0)
            {
                parts.Add(s[(at + separator.Length)..end]);
                end = at;
                most--;
            }

            parts.Add(s[..end]);
            parts.Reverse();
        }
        else
        {
            int start = 0;
            while (most != 0 && s.IndexOf(separator, start, StringComparison.Ordinal) is var at and >= 0)
            {
                parts.Add(s[start..at]);
                start = at + separator.Length;
                most--;
            }

            parts.Add(s[start..]);
        }

        context.Pay(parts.Count);
        return new Sequence(parts.ConvertAll(p => (object?)p));
    }

    static void SplitSpace(string s, long most, bool fromRight, List<string> parts)
    {
        int start = 0, end = s.Length;
        while (true)
        {
            while (start < end && IsSpace(s[fromRight ? end - 1 : start]))
            {
                (start, end) = fromRight ? (start, end - 1) : (start + 1, end);
            }

            if (start == end)
            {
                break;
            }

            int wordStart = start, wordEnd = end;
            if (most == 0)
            {
                string rest = Strip(s[start..end], null, left: fromRight, right: !fromRight);
                parts.Add(rest);
                break;
            }

            while (fromRight && end > start && !IsSpace(s[end - 1]))
            {
                end--;
            }

            while (!fromRight && start < end && !IsSpace(s[start]))
            {
                start++;
            }

            parts.Add(fromRight ? s[end..wordEnd] : s[wordStart..start]);
            most--;
        }

        if (fromRight)
        {
            parts.Reverse();
        }
    }

    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\x1C' and <= '\x1F';

    public static Sequence SplitLines(string s, bool keepEnds, RenderContext context)
    {
        var lines = new List<object?>();
        int start = 0;
        for (int i = 0; i < s.Length; i++)
        {
            if (s[i] is not ('\n' or '\r' or '\v' or '\f' or '\x1C' or '\x1D' or '\x1E' or '\x85' or '\u2028' or '\u2029'))
            {
                continue;
            }

            int end = i;
            i += s[i] == '\r' && i + 1 < s.Length && s[i + 1] == '\n' ? 1 : 0;
            lines.Add(s[start..(keepEnds ? i + 1 : end)]);
            start = i + 1;
        }

        if (start < s.Length)
        {
            lines.Add(s[start..]);
        }

        context.Pay(lines.Count);
        return new Sequence(lines);
    }

    static Sequence Partition(string s, string separator, bool last)
    {
        int at = separator.Length == 0 ? throw new RenderException("partition: the separator is empty")
            : last ? FindLast(s, separator) : Py.Find(s, separator);
        object?[] parts = at >= 0 ? [s[..at], separator, s[(at + separator.Length)..]] : last ? ["", "", s] : [s, "", ""];
        return new Sequence([.. parts], isTuple: true);
    }

    static bool Affix(object? affix, Func<string, bool> has) => affix switch
    {
        string one => has(one),
        Sequence { IsTuple: true } many => many.Items.Exists(m => m is string one && has(one)),
        _ => throw new RenderException($"startswith and endswith take a str, not a {Py.TypeName(affix)}"),
    };

    static int FindLast(string s, string part)
    {
        Account.PayForSearch(s, part);
        return s.LastIndexOf(part, StringComparison.Ordinal);
    }

    static long Position(string s, int at) => at < 0 ? -1 : Py.StringLength(s[..at]);

    static long Count(string s, string part)
    {
        if (part.Length == 0)
        {
            return Py.StringLength(s) + 1;
        }

        Account.PayForSearch(s, part);
        long count = 0;
        for (int at = 0; (at = s.IndexOf(part, at, StringComparison.Ordinal)) >= 0; at += part.Length)
        {
            count++;
        }

        return count;
    }

    static bool All(string s, Func<Rune, bool> test) => s.Length > 0 && s.EnumerateRunes().All(test);

    static int Width(Arguments a) => Py.ToLong(a.Take("width")) is var width and <= 1_000_000
        ? (int)Math.Max(0, width) : throw new RenderException("a text is asked to be too wide");

    static char Fill(Arguments a) => a.TakeString("fillchar", " ") is { Length: 1 } fill
        ? fill[0] : throw new RenderException("a fill character is not one character");
}

static class RuneExtensions
{
    public static bool All(this StringRuneEnumerator runes, Func<Rune, bool> test)
    {
        foreach (Rune rune in runes)
        {
            if (!test(rune))
            {
                return false;
            }
        }

        return true;
    }
}
