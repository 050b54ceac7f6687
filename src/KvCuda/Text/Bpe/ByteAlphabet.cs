using System.Text;

namespace KvCuda.Text.Bpe;

/// <summary>
/// GPT-2's alphabet: each byte written as one visible character, so that a vocabulary of bytes can be stored as text. Printable
/// Latin-1 stands for itself, the others for U+0100 onwards in order (Radford et al. 2019, encoder.py).
/// </summary>
static class ByteAlphabet
{
    static readonly char[] CharOf = new char[256];
    static readonly short[] ByteOf = new short[0x144];

    static ByteAlphabet()
    {
        Array.Fill(ByteOf, (short)-1);
        int next = 0x100;
        for (int b = 0; b < 256; b++)
        {
            bool printable = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            CharOf[b] = printable ? (char)b : (char)next++;
            ByteOf[CharOf[b]] = (short)b;
        }
    }

    /// <summary>The character that stands for a byte.</summary>
    public static char ToChar(byte value) => CharOf[value];

    /// <summary>The byte a character stands for, or -1.</summary>
    public static int ToByte(int character) => (uint)character < (uint)ByteOf.Length ? ByteOf[character] : -1;

    /// <summary>Writes bytes as the UTF-8 of their characters; returns the length. At most twice as long.</summary>
    public static int Spell(ReadOnlySpan<byte> bytes, Span<byte> spelling)
    {
        int length = 0;
        foreach (byte b in bytes)
        {
            length += new Rune(CharOf[b]).EncodeToUtf8(spelling[length..]);
        }

        return length;
    }

    /// <summary>Reads a spelling back to bytes; false if it has a character outside the alphabet.</summary>
    public static bool TryRead(ReadOnlySpan<byte> spelling, Span<byte> bytes, out int length)
    {
        length = 0;
        while (!spelling.IsEmpty)
        {
            Rune.DecodeFromUtf8(spelling, out Rune rune, out int used);
            int value = ToByte(rune.Value);
            if (value < 0)
            {
                return false;
            }

            bytes[length++] = (byte)value;
            spelling = spelling[used..];
        }

        return true;
    }
}
