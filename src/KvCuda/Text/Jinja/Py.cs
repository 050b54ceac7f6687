namespace KvCuda.Text.Jinja;

/// <summary>What Python's operators and builtins do.</summary>
static partial class Py
{
    const int MaxDepth = 100;

    public static bool Truthy(object? value) => value switch
    {
        null or Undefined => false,
        bool b => b,
        long l => l != 0,
        double d => d != 0,
        string s => s.Length > 0,
        Sequence s => s.Items.Count > 0,
        Dict d => d.Count > 0,
        _ => true,
    };

    public static string TypeName(object? value) => value switch
    {
        null => "None",
        bool => "bool",
        long => "int",
        double => "float",
        string => "str",
        Sequence s => s.IsTuple ? "tuple" : "list",
        Dict => "dict",
        Undefined => "undefined value",
        Namespace => "namespace",
        _ => "function",
    };

    public static bool Equal(object? a, object? b, int depth = 0)
    {
        if (depth > MaxDepth)
        {
            throw new RenderException("values are nested too deeply to compare");
        }

        Account.Pay(1);
        switch (a, b)
        {
            case (null, null) or (Undefined, Undefined):
                return true;
            case (string x, string y):
                Account.PayFor(x.Length == y.Length ? x : "");
                return x == y;
            case (Sequence x, Sequence y):
                return x.IsTuple == y.IsTuple && x.Items.Count == y.Items.Count
                    && x.Items.Zip(y.Items).All(p => Equal(p.First, p.Second, depth + 1));
            case (Dict x, Dict y):
                return x.Count == y.Count
                    && x.Entries.All(e => y.TryGet(e.Key, out object? value) && Equal(e.Value, value, depth + 1));
            default:
                if (IsNumber(a) && IsNumber(b))
                {
                    return a is double || b is double ? ToDouble(a) == ToDouble(b) : ToLong(a) == ToLong(b);
                }

                return ReferenceEquals(a, b);
        }
    }

    /// <summary>Less than 0, 0, more than 0; an error for values without an order.</summary>
    public static int Compare(object? a, object? b, int depth = 0)
    {
        Account.Pay(1);
        switch (a, b)
        {
            case (string x, string y):
                Account.PayFor(x.Length < y.Length ? x : y);
                return CompareStrings(x, y);
            case (Sequence x, Sequence y) when x.IsTuple == y.IsTuple && depth < MaxDepth:
                for (int i = 0; i < Math.Min(x.Items.Count, y.Items.Count); i++)
                {
                    if (!Equal(x.Items[i], y.Items[i]))
                    {
                        return Compare(x.Items[i], y.Items[i], depth + 1);
                    }
                }

                return x.Items.Count.CompareTo(y.Items.Count);
            default:
                if (!IsNumber(a) || !IsNumber(b))
                {
                    throw new RenderException($"a {TypeName(a)} and a {TypeName(b)} have no order");
                }

                return a is double || b is double ? ToDouble(a).CompareTo(ToDouble(b)) : ToLong(a).CompareTo(ToLong(b));
        }
    }

    // Python orders by code point; UTF-16 order differs where surrogates meet U+E000 and above.
    static int CompareStrings(string a, string b)
    {
        for (int i = 0; i < Math.Min(a.Length, b.Length); i++)
        {
            if (a[i] != b[i])
            {
                bool high = char.IsSurrogate(a[i]), otherHigh = char.IsSurrogate(b[i]);
                return high != otherHigh ? (high ? 1 : -1) : a[i].CompareTo(b[i]);
            }
        }

        return a.Length.CompareTo(b.Length);
    }

    public static bool IsNumber(object? value) => value is bool or long or double;

    public static double ToDouble(object? value) => value switch
    {
        bool b => b ? 1 : 0,
        long l => l,
        double d => d,
        _ => throw new RenderException($"a {TypeName(value)} is not a number"),
    };

    public static long ToLong(object? value) => value switch
    {
        bool b => b ? 1 : 0,
        long l => l,
        _ => throw new RenderException($"a {TypeName(value)} is not a whole number"),
    };

    /// <summary>What `for` walks through.</summary>
    public static List<object?> Iterate(object? value)
    {
        switch (value)
        {
            case Sequence s:
                return s.Items;
            case Dict d:
                Account.Pay(d.Count);
                return d.Entries.Select(e => e.Key).ToList();
            case string s:
                Account.Pay(s.Length);
                return s.EnumerateRunes().Select(r => (object?)r.ToString()).ToList();
            case Undefined:
                return [];
            default:
                throw new RenderException($"a {TypeName(value)} cannot be walked through");
        }
    }

    public static long Length(object? value) => value switch
    {
        string s => StringLength(s),
        Sequence s => s.Items.Count,
        Dict d => d.Count,
        Undefined => 0,
        _ => throw new RenderException($"a {TypeName(value)} has no length"),
    };

    public static int StringLength(string s)
    {
        Account.PayFor(s);
        int length = s.Length;
        foreach (char c in s)
        {
            length -= char.IsLowSurrogate(c) ? 1 : 0;
        }

        return length;
    }

    public static bool Contains(object? container, object? value) => container switch
    {
        string s => value is string part ? Find(s, part) >= 0
            : throw new RenderException($"a {TypeName(value)} cannot be in a str"),
        Sequence s => s.Items.Exists(item => Equal(item, value)),
        Dict d => d.TryGet(value, out _),
        Undefined => false,
        _ => throw new RenderException($"nothing can be in a {TypeName(container)}"),
    };

    /// <summary>Where a text stands in another, or -1; paid for.</summary>
    public static int Find(string text, string part, int from = 0)
    {
        Account.PayForSearch(from == 0 ? text : "", part);
        return text.IndexOf(part, from, StringComparison.Ordinal);
    }
}
