using System.Globalization;
using System.Text;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Patterns;

/// <summary>A set of characters: what one step of a pattern accepts.</summary>
abstract class CharSet
{
    readonly byte[] ascii = new byte[128]; // 0 = not asked yet, 1 = no, 2 = yes

    public bool Contains(int character)
    {
        if (character >= 128)
        {
            return Test(character);
        }

        ref byte known = ref ascii[character];
        if (known == 0)
        {
            known = Test(character) ? (byte)2 : (byte)1;
        }

        return known == 2;
    }

    protected abstract bool Test(int character);

    public sealed class Range(int from, int to) : CharSet
    {
        protected override bool Test(int character) => character >= from && character <= to;
    }

    /// <summary>Characters of one or more general categories.</summary>
    public sealed class Category(uint categories) : CharSet
    {
        protected override bool Test(int character) =>
            (categories >> (int)CharUnicodeInfo.GetUnicodeCategory(character) & 1) != 0;
    }

    public sealed class Predicate(Func<int, bool> test) : CharSet
    {
        protected override bool Test(int character) => test(character);
    }

    public sealed class Not(CharSet inner) : CharSet
    {
        protected override bool Test(int character) => !inner.Contains(character);
    }

    public sealed class Union(List<CharSet> members) : CharSet
    {
        protected override bool Test(int character)
        {
            foreach (CharSet member in members)
            {
                if (member.Contains(character))
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>Also the characters that differ from a member by case alone.</summary>
    public sealed class IgnoreCase(CharSet inner) : CharSet
    {
        protected override bool Test(int character)
        {
            if (inner.Contains(character))
            {
                return true;
            }

            if (character is 's' or 'S' or 0x17F)
            {
                return inner.Contains('s') || inner.Contains('S') || inner.Contains(0x17F);
            }

            if (character is 'k' or 'K' or 0x212A)
            {
                return inner.Contains('k') || inner.Contains('K') || inner.Contains(0x212A);
            }

            return Rune.TryCreate(character, out Rune rune)
                && (inner.Contains(Rune.ToLowerInvariant(rune).Value) || inner.Contains(Rune.ToUpperInvariant(rune).Value));
        }
    }

    public static readonly CharSet Space = new Predicate(c => (CharClass.Of(c) & CharClass.Space) != 0);

    public static readonly CharSet Digit = new Category(1u << (int)UnicodeCategory.DecimalDigitNumber);

    public static readonly CharSet Word = new Predicate(c => Rune.TryCreate(c, out Rune rune) && WordCharacter.Is(rune));

    public static readonly CharSet Punctuation = new Predicate(c => c < 128 ? char.IsPunctuation((char)c) || char.IsSymbol((char)c)
        : CharUnicodeInfo.GetUnicodeCategory(c) is >= UnicodeCategory.ConnectorPunctuation and <= UnicodeCategory.OtherPunctuation);

    public static readonly CharSet HexDigit = new Predicate(c => c < 128 && char.IsAsciiHexDigit((char)c));

    public static readonly CharSet AnyButLineEnd = new Predicate(c => c != '\n');

    /// <summary>\p{name}: a general category, its group, or Han; null if the name is another.</summary>
    public static CharSet? Property(string name)
    {
        if (name is "Han")
        {
            return new Predicate(IsHan);
        }

        uint bits = 0;
        for (int i = 0; i < CategoryNames.Length; i++)
        {
            if (CategoryNames[i] == name || (name.Length == 1 && CategoryNames[i][0] == name[0]))
            {
                bits |= 1u << i;
            }
        }

        return bits == 0 ? null : new Category(bits);
    }

    // In the order of System.Globalization.UnicodeCategory.
    static readonly string[] CategoryNames =
    [
        "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co",
        "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Cn",
    ];

    // Scripts.txt of the Unicode Character Database, sc=Han.
    static bool IsHan(int c) => c is (>= 0x2E80 and <= 0x2E99) or (>= 0x2E9B and <= 0x2EF3) or (>= 0x2F00 and <= 0x2FD5)
        or 0x3005 or 0x3007 or (>= 0x3021 and <= 0x3029) or (>= 0x3038 and <= 0x303B) or (>= 0x3400 and <= 0x4DBF)
        or (>= 0x4E00 and <= 0x9FFF) or (>= 0xF900 and <= 0xFA6D) or (>= 0xFA70 and <= 0xFAD9) or 0x16FE2 or 0x16FE3
        or 0x16FF0 or 0x16FF1 or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2B739) or (>= 0x2B740 and <= 0x2B81D)
        or (>= 0x2B820 and <= 0x2CEA1) or (>= 0x2CEB0 and <= 0x2EBE0) or (>= 0x2EBF0 and <= 0x2EE5D)
        or (>= 0x2F800 and <= 0x2FA1D) or (>= 0x30000 and <= 0x3134A) or (>= 0x31350 and <= 0x323AF);
}
