using System.Globalization;
using System.Text;

namespace KvCuda.Text.Jinja;

/// <summary>What + - * / // % ** and the comparisons do, as Python does them.</summary>
static class Operators
{
    public static bool Compare(string name, object? a, object? b) => name switch
    {
        "==" => Py.Equal(a, b),
        "!=" => !Py.Equal(a, b),
        "in" => Py.Contains(b, a),
        "not in" => !Py.Contains(b, a),
        "<" => Py.Compare(a, b) < 0,
        "<=" => Py.Compare(a, b) <= 0,
        ">" => Py.Compare(a, b) > 0,
        _ => Py.Compare(a, b) >= 0,
    };

    public static object? Arithmetic(string name, object? a, object? b, RenderContext context)
    {
        switch (name, a, b)
        {
            case (_, Undefined u, _):
                throw new RenderException($"{u.What} is undefined and cannot be an operand of {name}");
            case (_, _, Undefined u) when name != "%" || a is not string:
                throw new RenderException($"{u.What} is undefined and cannot be an operand of {name}");
            case ("+", string x, string y):
                return context.Pay(x + y);
            case ("+", Sequence x, Sequence y) when x.IsTuple == y.IsTuple:
                context.Pay(x.Items.Count + y.Items.Count);
                return new Sequence([.. x.Items, .. y.Items], x.IsTuple);
            case ("*", string x, _) when b is bool or long:
                return Repeat(x, Py.ToLong(b), context);
            case ("*", _, string y) when a is bool or long:
                return Repeat(y, Py.ToLong(a), context);
            case ("*", Sequence x, _) when b is bool or long:
                return Repeat(x, Py.ToLong(b), context);
            case ("*", _, Sequence y) when a is bool or long:
                return Repeat(y, Py.ToLong(a), context);
            case ("%", string format, _):
                return context.Pay(Format(format, b));
        }

        if (!Py.IsNumber(a) || !Py.IsNumber(b))
        {
            throw new RenderException($"a {Py.TypeName(a)} and a {Py.TypeName(b)} cannot be operands of {name}");
        }

        try
        {
            return a is double || b is double || name == "/" || (name == "**" && Py.ToLong(b) < 0)
                ? Floats(name, Py.ToDouble(a), Py.ToDouble(b)) : Longs(name, Py.ToLong(a), Py.ToLong(b), context);
        }
        catch (OverflowException)
        {
            throw new RenderException($"the result of {name} does not fit into 64 bits");
        }
    }

    static object Floats(string name, double a, double b) => name switch
    {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => b != 0 ? a / b : throw new RenderException("division by zero"),
        "//" => b != 0 ? Math.Floor(a / b) : throw new RenderException("division by zero"),
        "%" => b != 0 ? a - (b * Math.Floor(a / b)) : throw new RenderException("division by zero"),
        _ => Math.Pow(a, b),
    };

    static object Longs(string name, long a, long b, RenderContext context)
    {
        switch (name)
        {
            case "+":
                return checked(a + b);
            case "-":
                return checked(a - b);
            case "*":
                return checked(a * b);
            case "//" or "%" when b == 0:
                throw new RenderException("division by zero");
            case "//" or "%":
                long quotient = checked(a / b), rest = b == -1 ? 0 : a % b;
                bool down = rest != 0 && (rest < 0) != (b < 0);
                return name == "//" ? quotient - (down ? 1 : 0) : rest + (down ? b : 0);
            default:
                long result = 1;
                context.Pay(Math.Min(b, 1000));
                for (long i = 0; i < b && result != 0 && !(a == 1); i++)
                {
                    if (a == -1)
                    {
                        return b % 2 == 0 ? 1L : -1L;
                    }

                    result = checked(result * a);
                }

                return result;
        }
    }

    static Sequence Repeat(Sequence list, long times, RenderContext context)
    {
        times = list.Items.Count == 0 ? 0 : Math.Clamp(times, 0, int.MaxValue);
        context.Pay(times * list.Items.Count);
        return new Sequence(Enumerable.Repeat(list.Items, (int)times).SelectMany(i => i).ToList(), list.IsTuple);
    }

    static string Repeat(string text, long times, RenderContext context)
    {
        times = Math.Max(0, times);
        if (text.Length > 0 && times > RenderContext.MaxOutput / text.Length)
        {
            throw new RenderException($"a text grows beyond {RenderContext.MaxOutput} characters");
        }

        return context.Pay(text.Length == 0 ? "" : new StringBuilder().Insert(0, text, (int)times).ToString());
    }

    /// <summary>"%s and %d" % values.</summary>
    public static string Format(string format, object? values)
    {
        List<object?> items = values is Sequence { IsTuple: true } tuple ? tuple.Items : [values];
        var text = new StringBuilder();
        int used = 0;
        for (int i = 0; i < format.Length; i++)
        {
            if (text.Length > RenderContext.MaxOutput)
            {
                throw new RenderException($"a text grows beyond {RenderContext.MaxOutput} characters");
            }

            if (format[i] != '%')
            {
                text.Append(format[i]);
                continue;
            }

            int start = ++i;
            while (i < format.Length && (char.IsAsciiDigit(format[i]) || format[i] is '.' or '-' or '+'))
            {
                i++;
            }

            if (i >= format.Length)
            {
                throw new RenderException("a format ends with %");
            }

            if (format[i] == '%' && i == start)
            {
                text.Append('%');
                continue;
            }

            if (used == items.Count)
            {
                throw new RenderException("a format has more places than values");
            }

            text.Append(One(format[start..i], format[i], items[used++]));
            if (text.Length > RenderContext.MaxOutput)
            {
                throw new RenderException($"a text grows beyond {RenderContext.MaxOutput} characters");
            }
        }

        return used == items.Count || values is Dict ? text.ToString()
            : throw new RenderException("a format has fewer places than values");
    }

    static string One(string flags, char kind, object? value)
    {
        bool left = flags.StartsWith('-'), zero = flags.StartsWith('0');
        string[] numbers = flags.TrimStart('-', '+').Split('.');
        int width = Number(numbers[0], 0), precision = numbers.Length > 1 ? Number(numbers[1], 0) : -1;
        string body = kind switch
        {
            's' => Py.Str(value) is var s && precision >= 0 && s.Length > precision ? s[..precision] : Py.Str(value),
            'r' => Py.Repr(value),
            'd' or 'i' => value is double d ? ((long)d).ToString(CultureInfo.InvariantCulture)
                : Py.ToLong(value).ToString(CultureInfo.InvariantCulture),
            'x' => Py.ToLong(value).ToString("x", CultureInfo.InvariantCulture),
            'f' => Py.ToDouble(value).ToString("F" + (precision < 0 ? 6 : precision), CultureInfo.InvariantCulture),
            _ => throw new UnsupportedException($"the format %{flags}{kind}"),
        };
        body = flags.StartsWith('+') && kind is 'd' or 'f' && !body.StartsWith('-') ? "+" + body : body;
        return left ? body.PadRight(width) : zero && kind != 's' ? body.PadLeft(width, '0') : body.PadLeft(width);
    }

    static int Number(string digits, int absent) => digits.Length == 0 ? absent
        : int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value <= 10_000
            ? value : throw new RenderException("a format asks for too wide a field");
}
