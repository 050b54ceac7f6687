using System.Globalization;
using System.Text;

namespace KvCuda.Text.Jinja;

/// <summary>
/// Cuts a template into tokens, with the settings that chat templates are written for: <c>trim_blocks</c> (the line end after a
/// block goes) and <c>lstrip_blocks</c> (white space before a block that begins its line goes).
/// </summary>
sealed class Lexer
{
    static readonly string[] Operators =
    [
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ":", "|", ",", ";",
        "(", ")", "[", "]", "{", "}",
    ];

    readonly string source;
    readonly TemplateErrors errors;
    readonly List<Token> tokens = [];
    int at, line = 1;
    bool lineStarts = true; // whether what comes next begins a line

    Lexer(string template, TemplateErrors errors)
    {
        this.errors = errors;
        string text = template.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        source = text.EndsWith('\n') ? text[..^1] : text;
    }

    public static List<Token> Tokenize(string template, TemplateErrors errors)
    {
        var lexer = new Lexer(template, errors);
        lexer.Run();
        return lexer.tokens;
    }

    void Run()
    {
        while (at < source.Length)
        {
            int tag = NextTag();
            int end = tag < 0 ? source.Length : tag;
            string text = source[at..end];
            if (tag < 0)
            {
                Add(TokenKind.Data, text);
                break;
            }

            char sign = tag + 2 < source.Length && source[tag + 2] is '-' or '+' ? source[tag + 2] : ' ';
            char kind = source[tag + 1];
            string kept = BeforeTag(text, sign, lstrips: kind != '{');
            if (kept.Length > 0)
            {
                tokens.Add(new Token(TokenKind.Data, kept, line));
            }

            line += text.Count(c => c == '\n');
            at = tag + (sign == ' ' ? 2 : 3);
            lineStarts = false;
            switch (kind)
            {
                case '#':
                    Comment();
                    break;
                case '%' when TryRaw():
                    break;
                default:
                    Tag(kind == '{');
                    break;
            }
        }

        tokens.Add(new Token(TokenKind.End, "", line));
    }

    // White space that goes because of the tag after it: {%- all, {% what begins its line, {%+ none.
    string BeforeTag(string text, char sign, bool lstrips)
    {
        if (sign == '-')
        {
            return StringMethods.Strip(text, null, left: false, right: true);
        }

        int lineAt = text.LastIndexOf('\n') + 1;
        return sign != '+' && lstrips && (lineAt > 0 || lineStarts)
            && StringMethods.Strip(text[lineAt..], null, left: true, right: false).Length == 0 ? text[..lineAt] : text;
    }

    int NextTag()
    {
        for (int i = at; (i = source.IndexOf('{', i)) >= 0 && i + 1 < source.Length; i++)
        {
            if (source[i + 1] is '{' or '%' or '#')
            {
                return i;
            }
        }

        return -1;
    }

    void Add(TokenKind kind, string text)
    {
        if (text.Length > 0)
        {
            tokens.Add(new Token(kind, text, line));
            line += text.Count(c => c == '\n');
        }
    }

    void Comment()
    {
        int end = source.IndexOf("#}", at, StringComparison.Ordinal);
        if (end < 0)
        {
            throw errors.Syntax(line, "a comment is not closed");
        }

        line += source.AsSpan(at, end - at).Count('\n');
        char sign = end > at ? source[end - 1] : ' ';
        at = end + 2;
        AfterTag(sign, trims: true);
    }

    // White space that a tag takes with it: -%} all, %} one line end, +%} none.
    void AfterTag(char sign, bool trims)
    {
        int start = at;
        if (sign == '-')
        {
            while (at < source.Length && StringMethods.IsSpace(source[at]))
            {
                at++;
            }
        }
        else if (trims && sign != '+' && at < source.Length && source[at] == '\n')
        {
            at++;
        }

        line += source.AsSpan(start, at - start).Count('\n');
        lineStarts = at > start && source[at - 1] == '\n';
    }

    bool TryRaw()
    {
        int i = SkipSpace(at);
        if (!source.AsSpan(i).StartsWith("raw") || (i = SkipSpace(i + 3)) >= source.Length)
        {
            return false;
        }

        char sign = source[i] is '-' or '+' ? source[i++] : ' ';
        if (!source.AsSpan(i).StartsWith("%}"))
        {
            return false;
        }

        at = i + 2;
        AfterTag(sign, trims: false);
        for (int end = at; (end = source.IndexOf("{%", end, StringComparison.Ordinal)) >= 0; end += 2)
        {
            i = end + 2;
            char before = i < source.Length && source[i] is '-' or '+' ? source[i++] : ' ';
            i = SkipSpace(i);
            if (!source.AsSpan(i).StartsWith("endraw"))
            {
                continue;
            }

            i = SkipSpace(i + 6);
            sign = i < source.Length && source[i] is '-' or '+' ? source[i++] : ' ';
            if (source.AsSpan(i).StartsWith("%}"))
            {
                string text = source[at..end];
                Add(TokenKind.Data, BeforeTag(text, before, lstrips: true));
                line += text.Count(c => c == '\n') - BeforeTag(text, before, lstrips: true).Count(c => c == '\n');
                at = i + 2;
                AfterTag(sign, trims: true);
                return true;
            }
        }

        throw errors.Syntax(line, "a raw block is not closed");
    }

    int SkipSpace(int from)
    {
        while (from < source.Length && char.IsWhiteSpace(source[from]))
        {
            from++;
        }

        return from;
    }

    void Tag(bool output)
    {
        tokens.Add(new Token(output ? TokenKind.OutputBegin : TokenKind.BlockBegin, output ? "{{" : "{%", line));
        string close = output ? "}}" : "%}";
        int open = 0; // brackets: while one is open, }} is two of them
        while (true)
        {
            int start = at;
            at = SkipSpace(at);
            line += source.AsSpan(start, at - start).Count('\n');
            if (at >= source.Length)
            {
                throw errors.Syntax(line, $"a tag is not closed with {close}");
            }

            ReadOnlySpan<char> rest = source.AsSpan(at);
            char sign = rest[0] is '-' or '+' ? rest[0] : ' ';
            if (open == 0 && (rest.StartsWith(close)
                || (sign != ' ' && !(output && sign == '+') && rest[1..].StartsWith(close))))
            {
                tokens.Add(new Token(output ? TokenKind.OutputEnd : TokenKind.BlockEnd, close, line));
                at += sign == ' ' ? 2 : 3;
                AfterTag(sign, trims: !output);
                return;
            }

            char c = rest[0];
            if (c is '"' or '\'')
            {
                String(c);
            }
            else if (char.IsAsciiDigit(c))
            {
                Number();
            }
            else if (char.IsLetter(c) || c == '_')
            {
                int length = 1;
                while (length < rest.Length && (char.IsLetterOrDigit(rest[length]) || rest[length] == '_'))
                {
                    length++;
                }

                tokens.Add(new Token(TokenKind.Name, rest[..length].ToString(), line));
                at += length;
            }
            else
            {
                string? found = Array.Find(Operators, o => source.AsSpan(at).StartsWith(o));
                if (found is null)
                {
                    throw errors.Syntax(line, $"the character '{c}' is not expected in a tag");
                }

                open += found is "(" or "[" or "{" ? 1 : found is ")" or "]" or "}" ? -1 : 0;
                open = Math.Max(open, 0);
                tokens.Add(new Token(TokenKind.Operator, found, line));
                at += found.Length;
            }
        }
    }

    void Number()
    {
        int start = at;
        bool isFloat = false;
        if (source[at] == '0' && at + 1 < source.Length && source[at + 1] is 'x' or 'X')
        {
            at += 2;
            while (at < source.Length && char.IsAsciiHexDigit(source[at]))
            {
                at++;
            }

            if (!long.TryParse(source.AsSpan(start + 2, at - start - 2), NumberStyles.AllowHexSpecifier,
                CultureInfo.InvariantCulture, out long hex) || hex < 0)
            {
                throw errors.Syntax(line, $"the number {source[start..at]} is out of range");
            }

            tokens.Add(new Token(TokenKind.Integer, hex.ToString(CultureInfo.InvariantCulture), line));
            return;
        }

        while (at < source.Length && (char.IsAsciiDigit(source[at]) || source[at] == '_'))
        {
            at++;
        }

        if (at + 1 < source.Length && source[at] == '.' && char.IsAsciiDigit(source[at + 1]))
        {
            isFloat = true;
            at++;
            while (at < source.Length && (char.IsAsciiDigit(source[at]) || source[at] == '_'))
            {
                at++;
            }
        }

        if (at < source.Length && source[at] is 'e' or 'E')
        {
            int exponent = at + 1;
            exponent += exponent < source.Length && source[exponent] is '+' or '-' ? 1 : 0;
            if (exponent < source.Length && char.IsAsciiDigit(source[exponent]))
            {
                isFloat = true;
                at = exponent;
                while (at < source.Length && char.IsAsciiDigit(source[at]))
                {
                    at++;
                }
            }
        }

        string digits = source[start..at].Replace("_", "", StringComparison.Ordinal);
        if (!isFloat && !long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out _))
        {
            throw errors.Syntax(line, $"the number {digits} is out of range");
        }

        tokens.Add(new Token(isFloat ? TokenKind.Float : TokenKind.Integer, digits, line));
    }

    void String(char quote)
    {
        int first = line;
        var text = new StringBuilder();
        for (at++; ; at++)
        {
            if (at >= source.Length)
            {
                throw errors.Syntax(first, "a string is not closed");
            }

            char c = source[at];
            if (c == quote)
            {
                at++;
                break;
            }

            line += c == '\n' ? 1 : 0;
            if (c != '\\')
            {
                text.Append(c);
                continue;
            }

            if (++at >= source.Length)
            {
                throw errors.Syntax(first, "a string is not closed");
            }

            Escape(source[at], text);
        }

        tokens.Add(new Token(TokenKind.String, text.ToString(), first));
    }

    // Python's escapes; an unknown one stands for itself.
    void Escape(char c, StringBuilder text)
    {
        switch (c)
        {
            case '\n':
                line++;
                break;
            case 'n':
                text.Append('\n');
                break;
            case 't':
                text.Append('\t');
                break;
            case 'r':
                text.Append('\r');
                break;
            case 'b':
                text.Append('\b');
                break;
            case 'f':
                text.Append('\f');
                break;
            case 'v':
                text.Append('\v');
                break;
            case 'a':
                text.Append('\a');
                break;
            case '\\' or '\'' or '"':
                text.Append(c);
                break;
            case >= '0' and <= '7':
                int value = 0, count = 0;
                while (count < 3 && at < source.Length && source[at] is >= '0' and <= '7')
                {
                    value = (value * 8) + source[at++] - '0';
                    count++;
                }

                at--;
                text.Append((char)value);
                break;
            case 'x' or 'u' or 'U':
                int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
                if (at + digits >= source.Length || !int.TryParse(source.AsSpan(at + 1, digits),
                    NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int code) || code is < 0 or > 0x10FFFF)
                {
                    throw errors.Syntax(line, $"the escape \\{c} is malformed");
                }

                text.Append(code < 0x10000 ? ((char)code).ToString() : char.ConvertFromUtf32(code));
                at += digits;
                break;
            default:
                text.Append('\\').Append(c);
                break;
        }
    }
}
