using System.Text;
using KvCuda.Text.Bpe;

namespace KvCuda.Text.Decoding;

/// <summary>
/// ByteLevel: each character of a token stands for a byte; all bytes together are UTF-8, of which malformed parts become U+FFFD.
/// A token with a character outside the alphabet stands for its own UTF-8.
/// </summary>
sealed class ByteLevelStage : DecoderStage
{
    readonly Decoder utf8 = Encoding.UTF8.GetDecoder();
    readonly StringBuilder token = new();
    byte[] bytes = new byte[256];
    char[] chars = new char[256];

    public override void Add(ReadOnlySpan<char> part, bool ends)
    {
        if (!ends || token.Length > 0)
        {
            token.Append(part);
            if (!ends)
            {
                return;
            }

            part = token.ToString();
            token.Clear();
        }

        if (bytes.Length < part.Length * 3)
        {
            bytes = new byte[part.Length * 3];
        }

        int length = 0;
        foreach (char c in part)
        {
            int value = ByteAlphabet.ToByte(c);
            if (value < 0)
            {
                length = Encoding.UTF8.GetBytes(part, bytes);
                break;
            }

            bytes[length++] = (byte)value;
        }

        Convert(bytes.AsSpan(0, length), flush: false);
    }

    protected override void Drain()
    {
        Convert([], flush: true);
        Pass("", ends: true);
    }

    void Convert(ReadOnlySpan<byte> more, bool flush)
    {
        if (chars.Length < more.Length + 4)
        {
            chars = new char[more.Length + 4];
        }

        int written = utf8.GetChars(more, chars, flush);
        Pass(chars.AsSpan(0, written), ends: false);
    }
}
