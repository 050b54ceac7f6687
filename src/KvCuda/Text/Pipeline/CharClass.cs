using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

namespace KvCuda.Text.Pipeline;

/// <summary>What the scanners ask about a character: bits, looked up.</summary>
static class CharClass
{
    /// <summary>\p{L}</summary>
    public const byte Letter = 1;

    /// <summary>\p{N}</summary>
    public const byte Number = 2;

    /// <summary>\s: the White_Space property.</summary>
    public const byte Space = 4;

    /// <summary>[\r\n]</summary>
    public const byte LineEnd = 8;

    /// <summary>[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]</summary>
    public const byte UpperLike = 16;

    /// <summary>[\p{Ll}\p{Lm}\p{Lo}\p{M}]</summary>
    public const byte LowerLike = 32;

    /// <summary>\p{M}</summary>
    public const byte Mark = 64;

    static readonly byte[] Bmp = Build();

    static byte[] Build()
    {
        var table = new byte[0x10000];
        for (int c = 0; c < table.Length; c++)
        {
            table[c] = Compute(c);
        }

        return table;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte Of(int character) => character < 0x10000 ? Bmp[character] : Compute(character);

    /// <summary>The class of the character at <paramref name="at"/>, and its length in bytes; class 0, length 0 at the end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte At(ReadOnlySpan<byte> text, int at, out int length)
    {
        if ((uint)at >= (uint)text.Length)
        {
            length = 0;
            return 0;
        }

        int b = text[at];
        if (b < 0x80)
        {
            length = 1;
            return Bmp[b];
        }

        Rune.DecodeFromUtf8(text[at..], out Rune rune, out length);
        return Of(rune.Value);
    }

    static byte Compute(int character) => CharUnicodeInfo.GetUnicodeCategory(character) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.TitlecaseLetter => Letter | UpperLike,
        UnicodeCategory.LowercaseLetter => Letter | LowerLike,
        UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Letter | UpperLike | LowerLike,
        UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark =>
            Mark | UpperLike | LowerLike,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Number,
        _ => character is '\r' or '\n' ? (byte)(Space | LineEnd)
            : character is (>= 9 and <= 13) or 32 or 0x85 or 0xA0 or 0x1680 or (>= 0x2000 and <= 0x200A)
                or 0x2028 or 0x2029 or 0x202F or 0x205F or 0x3000 ? Space : (byte)0,
    };
}
