using System.Globalization;
using System.Text;

namespace KvCuda.Text.Jinja;

/// <summary>tojson as chat templates get it: Python's json.dumps with ensure_ascii=False, not escaped for HTML.</summary>
static class ToJson
{
    const int MaxDepth = 100;

    sealed record Style(bool Ascii, string? Indent, string Comma, string Colon, bool Sorted);

    public static string Apply(object? value, Arguments arguments, RenderContext context)
    {
        object? first = arguments.Take("ensure_ascii", false);
        object? indent = arguments.Take("indent", null);
        object? separators = arguments.Take("separators", null);
        bool sorted = Py.Truthy(arguments.Take("sort_keys", false));
        string? step = indent switch
        {
            null => null,
            string s => s,
            _ => new string(' ', (int)Math.Clamp(Py.ToLong(indent), 0, 100)),
        };
        (string comma, string colon) = separators is Sequence { Items: [string c, string d] }
            ? (c, d) : (step is null ? ", " : ",", ": ");
        var text = new StringBuilder();
        Write(value, new Style(Py.Truthy(first), step, comma, colon, sorted), 0, text, context);
        return context.Pay(text.ToString());
    }

    static void Write(object? value, Style style, int depth, StringBuilder text, RenderContext context)
    {
        context.Pay(1);
        if (depth > MaxDepth || text.Length > RenderContext.MaxOutput)
        {
            throw new RenderException("tojson: the value is too deep or too large");
        }

        switch (value)
        {
            case null:
                text.Append("null");
                break;
            case bool b:
                text.Append(b ? "true" : "false");
                break;
            case long l:
                text.Append(CultureInfo.InvariantCulture, $"{l}");
                break;
            case double d:
                text.Append(double.IsNaN(d) ? "NaN" : double.IsInfinity(d) ? (d > 0 ? "Infinity" : "-Infinity") : Py.Float(d));
                break;
            case string s:
                context.Pay(s.Length / 8);
                Quote(s, style.Ascii, text);
                break;
            case Sequence list:
                List(list.Items.Count, '[', ']', style, depth, text,
                    i => Write(list.Items[i], style, depth + 1, text, context));
                break;
            case Dict dict:
                context.Pay(dict.Count);
                List<KeyValuePair<object?, object?>> entries = [.. dict.Entries];
                if (style.Sorted)
                {
                    entries = [.. entries.OrderBy(e => e.Key, Comparer<object?>.Create((a, b) => Py.Compare(a, b)))];
                }

                List(entries.Count, '{', '}', style, depth, text, i =>
                {
                    string key = Key(entries[i].Key);
                    context.Pay(key.Length / 8);
                    Quote(key, style.Ascii, text);
                    text.Append(style.Colon);
                    Write(entries[i].Value, style, depth + 1, text, context);
                });
                break;
            default:
                throw new RenderException($"tojson: a {Py.TypeName(value)} cannot be written as JSON");
        }
    }

    static void List(int count, char open, char close, Style style, int depth, StringBuilder text, Action<int> item)
    {
        text.Append(open);
        for (int i = 0; i < count; i++)
        {
            text.Append(i == 0 ? "" : style.Comma);
            NewLine(style, depth + 1, text);
            item(i);
        }

        if (count > 0)
        {
            NewLine(style, depth, text);
        }

        text.Append(close);
    }

    static void NewLine(Style style, int depth, StringBuilder text)
    {
        if (style.Indent is not null)
        {
            text.Append('\n');
            for (int i = 0; i < depth; i++)
            {
                text.Append(style.Indent);
            }
        }
    }

    static string Key(object? key) => key switch
    {
        string s => s,
        null => "null",
        bool b => b ? "true" : "false",
        long or double => Py.Str(key),
        _ => throw new RenderException($"tojson: a {Py.TypeName(key)} cannot be a key in JSON"),
    };

    static void Quote(string s, bool ascii, StringBuilder text)
    {
        text.Append('"');
        foreach (char c in s)
        {
            switch (c)
            {
                case '"' or '\\':
                    text.Append('\\').Append(c);
                    break;
                case '\n':
                    text.Append("\\n");
                    break;
                case '\r':
                    text.Append("\\r");
                    break;
                case '\t':
                    text.Append("\\t");
                    break;
                case '\b':
                    text.Append("\\b");
                    break;
                case '\f':
                    text.Append("\\f");
                    break;
                default:
                    if (c < ' ' || (ascii && c > '~'))
                    {
                        text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
                    }
                    else
                    {
                        text.Append(c);
                    }

                    break;
            }
        }

        text.Append('"');
    }
}
