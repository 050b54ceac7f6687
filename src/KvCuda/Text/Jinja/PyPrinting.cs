using System.Globalization;
using System.Text;

namespace KvCuda.Text.Jinja;

static partial class Py
{
    /// <summary>str(value).</summary>
    public static string Str(object? value) => value switch
    {
        string s => s,
        Undefined => "",
        _ => Repr(value),
    };

    /// <summary>repr(value).</summary>
    public static string Repr(object? value)
    {
        var text = new StringBuilder();
        Repr(value, text, 0);
        return text.ToString();
    }

    static void Repr(object? value, StringBuilder text, int depth)
    {
        if (depth > MaxDepth)
        {
            throw new RenderException("a value is nested too deeply to print");
        }

        Account.Pay(1);
        if (text.Length > RenderContext.MaxOutput)
        {
            throw new RenderException($"a text grows beyond {RenderContext.MaxOutput} characters");
        }

        switch (value)
        {
            case null:
                text.Append("None");
                break;
            case bool b:
                text.Append(b ? "True" : "False");
                break;
            case long l:
                text.Append(l.ToString(CultureInfo.InvariantCulture));
                break;
            case double d:
                text.Append(Float(d));
                break;
            case string s:
                Account.PayFor(s);
                Quote(s, text);
                break;
            case Undefined:
                text.Append("Undefined");
                break;
            case Sequence s:
                text.Append(s.IsTuple ? '(' : '[');
                for (int i = 0; i < s.Items.Count; i++)
                {
                    text.Append(i == 0 ? "" : ", ");
                    Repr(s.Items[i], text, depth + 1);
                }

                text.Append(s.IsTuple ? (s.Items.Count == 1 ? ",)" : ")") : "]");
                break;
            case Dict d:
                text.Append('{');
                for (int i = 0; i < d.Count; i++)
                {
                    text.Append(i == 0 ? "" : ", ");
                    Repr(d.Entries[i].Key, text, depth + 1);
                    text.Append(": ");
                    Repr(d.Entries[i].Value, text, depth + 1);
                }

                text.Append('}');
                break;
            default:
                throw new RenderException($"a {TypeName(value)} cannot be printed");
        }
    }

    static void Quote(string s, StringBuilder text)
    {
        char quote = s.Contains('\'', StringComparison.Ordinal) && !s.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        text.Append(quote);
        foreach (Rune rune in s.EnumerateRunes())
        {
            switch (rune.Value)
            {
                case '\n':
                    text.Append("\\n");
                    break;
                case '\r':
                    text.Append("\\r");
                    break;
                case '\t':
                    text.Append("\\t");
                    break;
                case '\\':
                    text.Append("\\\\");
                    break;
                default:
                    if (rune.Value == quote)
                    {
                        text.Append('\\').Append(quote);
                    }
                    else if (rune.Value == ' ' || IsPrintable(rune))
                    {
                        text.Append(rune);
                    }
                    else
                    {
                        text.Append(rune.Value < 0x100 ? "\\x" : rune.Value < 0x10000 ? "\\u" : "\\U").Append(rune.Value.ToString(
                            rune.Value < 0x100 ? "x2" : rune.Value < 0x10000 ? "x4" : "x8", CultureInfo.InvariantCulture));
                    }

                    break;
            }
        }

        text.Append(quote);
    }

    static bool IsPrintable(Rune rune) => Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control or UnicodeCategory.Format
        or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned
        or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);

    /// <summary>repr of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.</summary>
    public static string Float(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
        }

        // The shortest digits that read back, without point and zeros around, and where the point belongs.
        string shortest = Math.Abs(value).ToString("R", CultureInfo.InvariantCulture);
        int e = shortest.IndexOf('E', StringComparison.Ordinal);
        int scale = e < 0 ? 0 : int.Parse(shortest.AsSpan(e + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        string mantissa = e < 0 ? shortest : shortest[..e];
        int point = mantissa.IndexOf('.', StringComparison.Ordinal);
        point = scale + (point < 0 ? mantissa.Length : point);
        string all = mantissa.Replace(".", "", StringComparison.Ordinal);
        string digits = all.TrimStart('0');
        point -= all.Length - digits.Length;
        digits = digits.TrimEnd('0');
        string sign = value < 0 || double.IsNegative(value) ? "-" : "";
        if (digits.Length == 0)
        {
            return sign + "0.0";
        }

        if (point is > -4 and <= 16)
        {
            return sign + (point <= 0 ? "0." + new string('0', -point) + digits
                : digits.Length <= point ? digits.PadRight(point, '0') + ".0" : digits[..point] + "." + digits[point..]);
        }

        string head = digits.Length > 1 ? $"{digits[0]}.{digits[1..]}" : digits;
        return string.Create(CultureInfo.InvariantCulture, $"{sign}{head}e{(point <= 0 ? '-' : '+')}{Math.Abs(point - 1):00}");
    }
}
