// The parts of JSON as rules over bytes: characters of strings, numbers, white space, any value.
using System.Text;

namespace KvCuda.Text.Masks;

/// <summary>Pieces of JSON (RFC 8259) for grammars.</summary>
static class JsonText
{
    /// <summary>Any character within a string, as it is or escaped.</summary>
    public static int Character(ByteNfa nfa, int from)
    {
        int to = nfa.State();
        Utf8Ranges.Add(nfa, from, to, 0x20, 0x21);
        Utf8Ranges.Add(nfa, from, to, 0x23, 0x5B);
        Utf8Ranges.Add(nfa, from, to, 0x5D, 0x10FFFF);
        int escape = nfa.Literal(from, "\\"u8);
        nfa.Free(nfa.Any(escape, ('"', '"'), ('\\', '\\'), ('/', '/'), ('b', 'b'), ('f', 'f'), ('n', 'n'), ('r', 'r'), ('t', 't')), to);
        int hex = nfa.Literal(escape, "u"u8);
        nfa.Free(Hex(nfa, nfa.Any(hex, ('0', '9'), ('a', 'c'), ('A', 'C'), ('e', 'f'), ('E', 'F')), 3), to);
        int d = nfa.Any(hex, ('d', 'd'), ('D', 'D'));
        nfa.Free(Hex(nfa, nfa.Any(d, ('0', '7')), 2), to);
        int high = Hex(nfa, nfa.Any(d, ('8', '9'), ('a', 'b'), ('A', 'B')), 2);
        int low = nfa.Any(nfa.Literal(high, "\\u"u8), ('d', 'd'), ('D', 'D'));
        nfa.Free(Hex(nfa, nfa.Any(low, ('c', 'f'), ('C', 'F')), 2), to);
        return to;
    }

    static int Hex(ByteNfa nfa, int from, int digits) =>
        nfa.Repeat(from, digits, digits, at => nfa.Any(at, ('0', '9'), ('a', 'f'), ('A', 'F')));

    /// <summary>Characters of a range within a string, those that must be escaped in their shortest form.</summary>
    public static void AddCharacters(ByteNfa nfa, int from, int to, int low, int high)
    {
        for (int c = low; c <= Math.Min(high, 0x5C); c++)
        {
            if (c < 0x20 || c is '"' or '\\')
            {
                string escaped = c switch
                {
                    '"' => "\\\"", '\\' => "\\\\", '\b' => "\\b", '\f' => "\\f", '\n' => "\\n", '\r' => "\\r", '\t' => "\\t",
                    _ => $"\\u{c:x4}",
                };
                nfa.Free(nfa.Literal(from, Encoding.ASCII.GetBytes(escaped)), to);
            }
        }
        foreach ((int a, int b) in (ReadOnlySpan<(int, int)>)[(0x20, 0x21), (0x23, 0x5B), (0x5D, 0x10FFFF)])
        {
            if (Math.Max(a, low) <= Math.Min(b, high))
            {
                Utf8Ranges.Add(nfa, from, to, Math.Max(a, low), Math.Min(b, high));
            }
        }
    }

    /// <summary>Nothing, a space, or a line break with up to 32 spaces: enough for every usual layout, and no endless blanks.</summary>
    public static int Blank(ByteNfa nfa, int from)
    {
        int to = nfa.State();
        nfa.Free(from, to);
        nfa.Add(from, (byte)' ', (byte)' ', to);
        nfa.Free(nfa.Repeat(nfa.Literal(from, "\n"u8), 0, 32, at => nfa.Any(at, (' ', ' '))), to);
        return to;
    }

    /// <summary>A number: at most 18 digits, 18 decimals, 3 digits of an exponent.</summary>
    public static int Number(ByteNfa nfa, int from, bool whole)
    {
        int sign = nfa.State();
        nfa.Free(from, sign);
        nfa.Add(from, (byte)'-', (byte)'-', sign);
        int to = nfa.State();
        nfa.Free(nfa.Literal(sign, "0"u8), to);
        nfa.Free(nfa.Repeat(nfa.Any(sign, ('1', '9')), 0, 17, at => nfa.Any(at, ('0', '9'))), to);
        if (whole)
        {
            return to;
        }
        int fraction = nfa.State(), end = nfa.State();
        nfa.Free(to, fraction);
        nfa.Free(nfa.Repeat(nfa.Literal(to, "."u8), 1, 18, at => nfa.Any(at, ('0', '9'))), fraction);
        nfa.Free(fraction, end);
        int e = nfa.Any(fraction, ('e', 'e'), ('E', 'E')), digits = nfa.Any(e, ('+', '+'), ('-', '-'));
        nfa.Free(e, digits);
        nfa.Free(nfa.Repeat(digits, 1, 3, at => nfa.Any(at, ('0', '9'))), end);
        return end;
    }

    /// <summary>Whole numbers from <paramref name="low"/> to <paramref name="high"/>, none below 0, without leading zeros.</summary>
    public static int Between(ByteNfa nfa, int from, long low, long high)
    {
        int to = nfa.State();
        for (int length = Digits(low); length <= Digits(high); length++)
        {
            long least = length == 1 ? 0 : Power(length - 1), most = Power(length) - 1;
            Same(from, Math.Max(low, least), Math.Min(high, most), length);
        }
        return to;

        // Numbers of one length: the first digit is that of a bound, or lies between and the rest is free.
        void Same(int at, long a, long b, int length)
        {
            if (length == 0)
            {
                nfa.Free(at, to);
                return;
            }
            long unit = Power(length - 1);
            for (long digit = a / unit; digit <= b / unit; digit++)
            {
                int next = nfa.Any(at, ((char)('0' + digit), (char)('0' + digit)));
                long first = digit == a / unit ? a % unit : 0, last = digit == b / unit ? b % unit : unit - 1;
                if (first == 0 && last == unit - 1)
                {
                    nfa.Free(nfa.Repeat(next, length - 1, length - 1, d => nfa.Any(d, ('0', '9'))), to);
                }
                else
                {
                    Same(next, first, last, length - 1);
                }
            }
        }
    }

    static int Digits(long value) => value.ToString(System.Globalization.CultureInfo.InvariantCulture).Length;

    static long Power(int exponent)
    {
        long power = 1;
        for (int i = 0; i < exponent; i++)
        {
            power = checked(power * 10);
        }
        return power;
    }
}
