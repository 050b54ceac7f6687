using System.Buffers;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;

namespace KvCuda.Text.Files;

/// <summary>
/// Walks through the few shapes that fill a tokenizer file: maps from strings to numbers and lists of strings, thirty megabytes
/// of them. Everything else in it goes to the ordinary JSON reader, as a slice.
/// </summary>
/// <remarks>
/// Plain loops over runs of a few bytes, compiled at full strength at once: vectorised searches and the ordinary reader are only
/// fast after they have been slow for a while, and a program loads its tokenizer once.
/// </remarks>
ref struct JsonCursor(ReadOnlySpan<byte> json)
{
    const int MaxDepth = 64;

    static readonly SearchValues<byte> ScalarEnd = SearchValues.Create(",}] \n\r\t"u8);
    static readonly SearchValues<byte> Structure = SearchValues.Create("\"{}[]"u8);

    readonly ReadOnlySpan<byte> json = json;
    int at;

    /// <summary>The next byte that is not white space; 0 at the end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public byte Peek()
    {
        ReadOnlySpan<byte> json = this.json;
        int i = at;
        while ((uint)i < (uint)json.Length && json[i] <= ' ' && json[i] is (byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t')
        {
            i++;
        }

        at = i;
        return (uint)i < (uint)json.Length ? json[i] : (byte)0;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool TryTake(char c)
    {
        bool taken = Peek() == c;
        at += taken ? 1 : 0;
        return taken;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Take(char c)
    {
        if (!TryTake(c))
        {
            throw Malformed($"'{c}' is missing");
        }
    }

    /// <summary>
    /// For loops over the members of an object or a list, after its opening bracket: false, and the bracket taken, at its end.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Next(ref bool first, char closing)
    {
        if (TryTake(closing))
        {
            return false;
        }

        if (!first)
        {
            Take(',');
        }

        first = false;
        return true;
    }

    /// <summary>A string, unescaped; it lies in the file or, if it had escapes, in <paramref name="scratch"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public ReadOnlySpan<byte> String(scoped ref byte[] scratch)
    {
        Take('"');
        ReadOnlySpan<byte> rest = json[at..];
        int length = 0;
        while ((uint)length < (uint)rest.Length && rest[length] != '"' && rest[length] != '\\')
        {
            length++;
        }

        if ((uint)length < (uint)rest.Length && rest[length] == '"')
        {
            at += length + 1;
            return rest[..length];
        }

        int end = StringEnd(at);
        ReadOnlySpan<byte> escaped = json[at..end];
        at = end + 1;
        if (scratch.Length < escaped.Length)
        {
            scratch = new byte[escaped.Length * 2];
        }

        return scratch.AsSpan(0, Unescape(escaped, scratch));
    }

    /// <summary>A whole number that is not negative; -1 if it is anything else.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public int Number()
    {
        Peek();
        int start = at;
        long value = 0;
        while (at < json.Length && json[at] is >= (byte)'0' and <= (byte)'9')
        {
            value = Math.Min((value * 10) + json[at++] - '0', int.MaxValue);
        }

        return at == start || (at < json.Length && json[at] is (byte)'.' or (byte)'e' or (byte)'E') ? -1 : (int)value;
    }

    /// <summary>Any value, as it stands.</summary>
    public ReadOnlySpan<byte> Value()
    {
        byte first = Peek();
        int start = at;
        if (first is (byte)'{' or (byte)'[')
        {
            int depth = 0;
            do
            {
                int next = json[at..].IndexOfAny(Structure);
                if (next < 0)
                {
                    throw Malformed("a bracket is not closed");
                }

                at += next;
                switch (json[at++])
                {
                    case (byte)'"':
                        at = StringEnd(at) + 1;
                        break;
                    case (byte)'{' or (byte)'[':
                        depth++;
                        break;
                    default:
                        depth--;
                        break;
                }

                if (depth > MaxDepth)
                {
                    throw Malformed($"it is nested deeper than {MaxDepth}");
                }
            }
            while (depth > 0);
        }
        else if (first == '"')
        {
            at = StringEnd(at + 1) + 1;
        }
        else
        {
            int length = json[at..].IndexOfAny(ScalarEnd);
            at = length < 0 ? json.Length : at + length;
        }

        return json[start..at];
    }

    /// <summary>Any value, read by the ordinary reader.</summary>
    public JsonElement Element()
    {
        var reader = new Utf8JsonReader(Value(), new JsonReaderOptions { MaxDepth = MaxDepth });
        return JsonElement.ParseValue(ref reader);
    }

    public JsonException Malformed(string what) =>
        new(string.Create(CultureInfo.InvariantCulture, $"at byte {at}, {what}"));

    int StringEnd(int from)
    {
        while (true)
        {
            int next = from <= json.Length ? json[from..].IndexOfAny((byte)'"', (byte)'\\') : -1;
            if (next < 0)
            {
                throw Malformed("a string does not end");
            }

            from += next;
            if (json[from] == '"')
            {
                return from;
            }

            from += 2;
        }
    }

    int Unescape(ReadOnlySpan<byte> escaped, Span<byte> into)
    {
        int length = 0;
        while (true)
        {
            int slash = escaped.IndexOf((byte)'\\');
            ReadOnlySpan<byte> plain = slash < 0 ? escaped : escaped[..slash];
            plain.CopyTo(into[length..]);
            length += plain.Length;
            if (slash < 0)
            {
                return length;
            }

            byte kind = escaped[slash + 1];
            escaped = escaped[(slash + 2)..];
            if (kind != 'u')
            {
                into[length++] = kind switch
                {
                    (byte)'"' or (byte)'\\' or (byte)'/' => kind,
                    (byte)'b' => (byte)'\b',
                    (byte)'f' => (byte)'\f',
                    (byte)'n' => (byte)'\n',
                    (byte)'r' => (byte)'\r',
                    (byte)'t' => (byte)'\t',
                    _ => throw Malformed("a string has an unknown escape"),
                };
                continue;
            }

            int unit = Hex(ref escaped);
            if (char.IsHighSurrogate((char)unit) && escaped.StartsWith("\\u"u8))
            {
                escaped = escaped[2..];
                int low = Hex(ref escaped);
                unit = char.IsLowSurrogate((char)low) ? char.ConvertToUtf32((char)unit, (char)low) : -1;
            }

            if (!Rune.TryCreate(unit, out Rune rune))
            {
                throw Malformed("a string has half of a surrogate pair");
            }

            length += rune.EncodeToUtf8(into[length..]);
        }
    }

    int Hex(ref ReadOnlySpan<byte> digits)
    {
        if (digits.Length < 4 || !int.TryParse(digits[..4], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int value))
        {
            throw Malformed("a string has a malformed \\u escape");
        }

        digits = digits[4..];
        return value;
    }
}
