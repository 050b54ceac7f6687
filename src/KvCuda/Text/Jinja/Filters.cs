namespace KvCuda.Text.Jinja;

/// <summary>The filters, by name. Those that work on lists are in <see cref="ListFilters"/>.</summary>
static class Filters
{
    delegate object? Filter(object? value, Arguments arguments, RenderContext context);

    static readonly Dictionary<string, Filter> All = new(StringComparer.Ordinal)
    {
        ["abs"] = (v, _, _) => v is double d ? (object)Math.Abs(d) : Math.Abs(Py.ToLong(v)),
        ["attr"] = (v, a, _) => Members.Attribute(v, a.TakeString("name")),
        ["batch"] = ListFilters.Batch,
        ["capitalize"] = (v, _, _) => StringMethods.Capitalize(Py.Str(v)),
        ["center"] = (v, a, _) => StringMethods.Center(Py.Str(v), (int)Math.Clamp(a.TakeLong("width", 80), 0, 1_000_000)),
        ["count"] = (v, _, _) => Py.Length(v),
        ["d"] = Default,
        ["default"] = Default,
        ["dictsort"] = ListFilters.DictSort,
        ["e"] = (v, _, c) => Escape(Py.Str(v), c),
        ["escape"] = (v, _, c) => Escape(Py.Str(v), c),
        ["first"] = (v, _, _) => Py.Iterate(v) is { Count: > 0 } items ? items[0] : new Undefined("the first item of nothing"),
        ["float"] = (v, a, _) => Conversions.Float(v, a.Take("default", 0.0)),
        ["forceescape"] = (v, _, c) => Escape(Py.Str(v), c),
        ["format"] = (v, a, c) => c.Pay(Operators.Format(Py.Str(v), new Sequence(a.TakeRest(), isTuple: true))),
        ["groupby"] = ListFilters.GroupBy,
        ["indent"] = Indent,
        ["int"] = (v, a, _) => Conversions.Int(v, a.Take("default", 0L)),
        ["items"] = (v, _, c) => v is Undefined ? new Sequence([]) : v is Dict dict ? Members.Items(dict, c)
            : throw new RenderException($"items: a {Py.TypeName(v)} is not a dict"),
        ["join"] = ListFilters.Join,
        ["last"] = (v, _, _) => Py.Iterate(v) is { Count: > 0 } items ? items[^1] : new Undefined("the last item of nothing"),
        ["length"] = (v, _, _) => Py.Length(v),
        ["list"] = (v, _, c) => ListFilters.Paid(new Sequence([.. Py.Iterate(v)]), c),
        ["lower"] = (v, _, c) => c.Pay(Py.Str(v).ToLowerInvariant()),
        ["map"] = ListFilters.Map,
        ["max"] = (v, a, c) => ListFilters.Extreme(v, a, c, 1),
        ["min"] = (v, a, c) => ListFilters.Extreme(v, a, c, -1),
        ["reject"] = (v, a, c) => ListFilters.Select(v, a, c, keep: false, byAttribute: false),
        ["rejectattr"] = (v, a, c) => ListFilters.Select(v, a, c, keep: false, byAttribute: true),
        ["replace"] = (v, a, c) =>
            StringMethods.Replace(Py.Str(v), Py.Str(a.Take("old")), Py.Str(a.Take("new")), Count(a.Take("count", null)), c),
        ["reverse"] = (v, _, c) => v is string s ? string.Concat(Enumerable.Reverse(Py.Iterate(s)).Cast<string>())
            : ListFilters.Paid(new Sequence([.. Enumerable.Reverse(Py.Iterate(v))]), c),
        ["round"] = Conversions.Round,
        ["safe"] = (v, _, _) => Py.Str(v),
        ["select"] = (v, a, c) => ListFilters.Select(v, a, c, keep: true, byAttribute: false),
        ["selectattr"] = (v, a, c) => ListFilters.Select(v, a, c, keep: true, byAttribute: true),
        ["slice"] = ListFilters.SliceColumns,
        ["sort"] = ListFilters.Sort,
        ["string"] = (v, _, c) => c.Pay(Py.Str(v)),
        ["sum"] = ListFilters.Sum,
        ["title"] = (v, _, _) => Title(Py.Str(v)),
        ["tojson"] = (v, a, c) => ToJson.Apply(v, a, c),
        ["trim"] = (v, a, _) => StringMethods.Strip(Py.Str(v), a.TakeString("chars", null), true, true),
        ["truncate"] = Truncate,
        ["unique"] = ListFilters.Unique,
        ["upper"] = (v, _, c) => c.Pay(StringMethods.Upper(Py.Str(v))),
        ["urlencode"] = (v, _, c) => c.Pay(Uri.EscapeDataString(Py.Str(v)).Replace("%2F", "/", StringComparison.Ordinal)),
        ["wordcount"] = (v, _, _) => Words(Py.Str(v)),
    };

    public static bool Knows(string name) => All.ContainsKey(name);

    public static object? Apply(
        string name, object? value, List<object?> positional, Dictionary<string, object?> named, RenderContext context)
    {
        if (!All.TryGetValue(name, out Filter? filter))
        {
            throw new UnsupportedException($"the filter '{name}'");
        }

        var arguments = new Arguments($"the filter '{name}'", positional, named);
        context.Pay(value is string text ? text.Length / 8 : 1);
        object? result = filter(value, arguments, context);
        arguments.ExpectNoMore();
        context.PayForResult(result);
        return result;
    }

    static object? Default(object? value, Arguments arguments, RenderContext context)
    {
        object? absent = arguments.Take("default_value", "");
        bool falsy = Py.Truthy(arguments.Take("boolean", false));
        return value is Undefined || (falsy && !Py.Truthy(value)) ? absent : value;
    }

    static string Escape(string text, RenderContext context) => context.Pay(text
        .Replace("&", "&amp;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal)
        .Replace("<", "&lt;", StringComparison.Ordinal).Replace("'", "&#39;", StringComparison.Ordinal)
        .Replace("\"", "&#34;", StringComparison.Ordinal));

    static string Indent(object? value, Arguments arguments, RenderContext context)
    {
        object? width = arguments.Take("width", 4L);
        bool first = Py.Truthy(arguments.Take("first", false)), blank = Py.Truthy(arguments.Take("blank", false));
        string indent = width as string ?? new string(' ', (int)Math.Clamp(Py.ToLong(width), 0, 1000));
        List<string> lines = StringMethods.SplitLines(Py.Str(value) + "\n", keepEnds: false, context).Items.ConvertAll(l => (string)l!);
        if ((long)lines.Count * indent.Length > RenderContext.MaxOutput)
        {
            throw new RenderException($"a text grows beyond {RenderContext.MaxOutput} characters");
        }

        for (int i = first ? 0 : 1; i < lines.Count; i++)
        {
            lines[i] = lines[i].Length > 0 || blank || i == 0 ? indent + lines[i] : lines[i];
        }

        return context.Pay(string.Join('\n', lines));
    }

    // Jinja's title: words begin after white space, hyphens and opening brackets.
    static string Title(string text)
    {
        var result = text.ToLowerInvariant().ToCharArray();
        for (int i = 0; i < result.Length; i++)
        {
            if (i == 0 || char.IsWhiteSpace(result[i - 1]) || result[i - 1] is '-' or '(' or '{' or '[' or '<')
            {
                result[i] = char.ToUpperInvariant(result[i]);
            }
        }

        return new string(result);
    }

    static string Truncate(object? value, Arguments arguments, RenderContext context)
    {
        string text = Py.Str(value);
        long length = arguments.TakeLong("length", 255);
        bool killWords = Py.Truthy(arguments.Take("killwords", false));
        string end = arguments.TakeString("end", "...")!;
        long leeway = arguments.TakeLong("leeway", 5);
        if (length < end.Length || leeway < 0)
        {
            throw new RenderException("truncate: the length is shorter than the end");
        }

        if (text.Length <= length + leeway)
        {
            return text;
        }

        string cut = text[..(int)(length - end.Length)];
        int space = cut.LastIndexOf(' ');
        return (killWords || space < 0 ? cut : cut[..space]) + end;
    }

    static long Words(string text)
    {
        long count = 0;
        bool inside = false;
        foreach (char c in text)
        {
            bool word = char.IsLetterOrDigit(c) || c == '_';
            count += word && !inside ? 1 : 0;
            inside = word;
        }

        return count;
    }

    static long Count(object? value) => value is null ? -1 : Py.ToLong(value);
}
