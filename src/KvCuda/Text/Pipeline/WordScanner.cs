using System.Text;

namespace KvCuda.Text.Pipeline;

/// <summary>
/// The patterns that byte-level models cut text with, each as a scanner over characters. (.NET's regular expressions see UTF-16
/// units: half of an emoji can match, and letters beyond U+FFFF never do.)
/// </summary>
abstract class WordScanner
{
    public const string Gpt2Pattern =
        @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    const string Contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    const string Tail = @"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const string Words = Contractions + @"|[^\r\n\p{L}\p{N}]?\p{L}+|";
    const string Upper = @"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", Lower = @"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
    const string SlashTail = @"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>A scanner for exactly this pattern, or null.</summary>
    public static WordScanner? For(string pattern) => pattern switch
    {
        Gpt2Pattern => new Gpt2Scanner(),
        Words + @"\p{N}{1,3}" + Tail => new Llama3Scanner(digits: 3),
        Words + @"\p{N}" + Tail => new Llama3Scanner(digits: 1),
        @"[^\r\n\p{L}\p{N}]?" + Upper + "*" + Lower + "+" + Contractions + @"?|[^\r\n\p{L}\p{N}]?" + Upper + "+" + Lower + "*"
            + Contractions + @"?|\p{N}{1,3}" + SlashTail => new CaseScanner(contractions: true, digits: 3),
        @"[^\r\n\p{L}\p{N}]?" + Upper + "*" + Lower + @"+|[^\r\n\p{L}\p{N}]?" + Upper + "+" + Lower + "*"
            + @"|\p{N}" + SlashTail => new CaseScanner(contractions: false, digits: 1),
        _ => null,
    };

    /// <summary>
    /// The end of the match that begins at <paramref name="at"/>. Each of these patterns matches at every position, so that
    /// the matches cover the text.
    /// </summary>
    public abstract int Next(ReadOnlySpan<byte> text, int at);

    /// <summary>The end of the run of characters of which one of <paramref name="classes"/> is true.</summary>
    protected static int Run(ReadOnlySpan<byte> text, int at, byte classes)
    {
        while (at < text.Length && (CharClass.At(text, at, out int length) & classes) != 0)
        {
            at += length;
        }

        return at;
    }

    /// <summary>The end of the run of characters that are in none of <paramref name="classes"/>.</summary>
    protected static int RunOfOthers(ReadOnlySpan<byte> text, int at, byte classes)
    {
        while (at < text.Length && (CharClass.At(text, at, out int length) & classes) == 0)
        {
            at += length;
        }

        return at;
    }

    /// <summary>\s+(?!\S)|\s+ : white space up to the end, or else all but its last character, which goes with the next word.</summary>
    protected static int SpaceRun(ReadOnlySpan<byte> text, int at)
    {
        int end = at, last = at;
        while (end < text.Length && (CharClass.At(text, end, out int length) & CharClass.Space) != 0)
        {
            last = end;
            end += length;
        }

        return end == text.Length || last == at ? end : last;
    }

    /// <summary>\s*[\r\n]+ : white space up to and with its last line end; or -1.</summary>
    protected static int SpaceToLineEnd(ReadOnlySpan<byte> text, int at)
    {
        int end = -1;
        while (at < text.Length)
        {
            byte kind = CharClass.At(text, at, out int length);
            if ((kind & CharClass.Space) == 0)
            {
                break;
            }

            at += length;
            end = (kind & CharClass.LineEnd) != 0 ? at : end;
        }

        return end;
    }

    /// <summary>Bytes of 's 't 're 've 'm 'll 'd at <paramref name="at"/>, or 0. Ignoring case, ſ (U+017F) is an s.</summary>
    protected static int Contraction(ReadOnlySpan<byte> text, int at, bool ignoreCase)
    {
        if (at >= text.Length || text[at] != '\'' || at + 1 >= text.Length)
        {
            return 0;
        }

        int fold = ignoreCase ? 0x20 : 0;
        int first = text[at + 1] | fold, second = at + 2 < text.Length ? text[at + 2] | fold : 0;
        return (first, second) switch
        {
            ('s' or 't' or 'm' or 'd', _) => 2,
            ('r' or 'v', 'e') or ('l', 'l') => 3,
            _ => ignoreCase && text[(at + 1)..].StartsWith("ſ"u8) ? 3 : 0,
        };
    }

    sealed class Gpt2Scanner : WordScanner
    {
        const byte Word = CharClass.Space | CharClass.Letter | CharClass.Number;

        public override int Next(ReadOnlySpan<byte> text, int at)
        {
            int contraction = Contraction(text, at, ignoreCase: false);
            if (contraction > 0)
            {
                return at + contraction;
            }

            int from = text[at] == ' ' ? at + 1 : at;
            byte kind = CharClass.At(text, from, out int length);
            if (length > 0 && (kind & CharClass.Space) == 0)
            {
                return (kind & CharClass.Letter) != 0 ? Run(text, from, CharClass.Letter)
                    : (kind & CharClass.Number) != 0 ? Run(text, from, CharClass.Number)
                    : RunOfOthers(text, from, Word);
            }

            return SpaceRun(text, at);
        }
    }

    sealed class Llama3Scanner(int digits) : WordScanner
    {
        const byte Word = CharClass.Space | CharClass.Letter | CharClass.Number;

        public override int Next(ReadOnlySpan<byte> text, int at)
        {
            int contraction = Contraction(text, at, ignoreCase: true);
            if (contraction > 0)
            {
                return at + contraction;
            }

            byte kind = CharClass.At(text, at, out int length);
            if ((kind & CharClass.Letter) != 0)
            {
                return Run(text, at, CharClass.Letter);
            }

            if ((kind & CharClass.Number) != 0)
            {
                return Digits(text, at, digits);
            }

            // [^\r\n\p{L}\p{N}]?\p{L}+ : one character that is not a line end, then letters.
            if ((kind & CharClass.LineEnd) == 0 && (CharClass.At(text, at + length, out _) & CharClass.Letter) != 0)
            {
                return Run(text, at + length, CharClass.Letter);
            }

            int from = text[at] == ' ' ? at + 1 : at;
            int end = RunOfOthers(text, from, Word);
            if (end > from)
            {
                return Run(text, end, CharClass.LineEnd);
            }

            end = SpaceToLineEnd(text, at);
            return end >= 0 ? end : SpaceRun(text, at);
        }
    }

    /// <summary>\p{N}{1,n}</summary>
    static int Digits(ReadOnlySpan<byte> text, int at, int most)
    {
        for (int i = 0; i < most && (CharClass.At(text, at, out int length) & CharClass.Number) != 0; i++)
        {
            at += length;
        }

        return at;
    }

    /// <summary>GPT-4o and Tekken: words end where the case rises.</summary>
    sealed class CaseScanner(bool contractions, int digits) : WordScanner
    {
        const byte Other = CharClass.Space | CharClass.Letter | CharClass.Number;

        public override int Next(ReadOnlySpan<byte> text, int at)
        {
            byte kind = CharClass.At(text, at, out int length);
            int end = -1;

            // [^\r\n\p{L}\p{N}]? takes a character if it can (a mark may be taken so too), and is tried without it after.
            if ((kind & (CharClass.LineEnd | CharClass.Letter | CharClass.Number)) == 0)
            {
                end = Cased(text, at + length);
            }

            end = end >= 0 ? end : Cased(text, at);
            if (end < 0 && (kind & (CharClass.LineEnd | CharClass.Letter | CharClass.Number)) == 0)
            {
                end = Capitals(text, at + length);
            }

            end = end >= 0 ? end : Capitals(text, at);
            if (end >= 0)
            {
                return contractions ? end + Contraction(text, end, ignoreCase: true) : end;
            }

            if ((kind & CharClass.Number) != 0)
            {
                return Digits(text, at, digits);
            }

            int from = text[at] == ' ' ? at + 1 : at;
            end = RunOfOthers(text, from, Other);
            if (end > from)
            {
                while (end < text.Length && text[end] is (byte)'\r' or (byte)'\n' or (byte)'/')
                {
                    end++;
                }

                return end;
            }

            end = SpaceToLineEnd(text, at);
            return end >= 0 ? end : SpaceRun(text, at);
        }

        // Upper* Lower+ : upper-like characters, of which the last ones may be given back, then lower-like ones.
        static int Cased(ReadOnlySpan<byte> text, int at)
        {
            int end = at, lastBoth = -1;
            while (end < text.Length)
            {
                byte kind = CharClass.At(text, end, out int length);
                if ((kind & CharClass.UpperLike) == 0)
                {
                    break;
                }

                end += length;
                lastBoth = (kind & CharClass.LowerLike) != 0 ? end : lastBoth;
            }

            int lower = Run(text, end, CharClass.LowerLike);
            return lower > end ? lower : lastBoth;
        }

        // Upper+ Lower* where Upper* Lower+ failed: nothing lower-like follows.
        static int Capitals(ReadOnlySpan<byte> text, int at)
        {
            int end = Run(text, at, CharClass.UpperLike);
            return end > at ? Run(text, end, CharClass.LowerLike) : -1;
        }
    }
}
