// Ranges of characters as sequences of ranges of UTF-8 bytes.
using KvCuda.Text.Patterns;

namespace KvCuda.Text.Masks;

/// <summary>Steps of an automaton over bytes that take one character of a set.</summary>
static class Utf8Ranges
{
    const int Most = 0x10FFFF;

    /// <summary>Adds paths from one state to another for all characters of a range; surrogates are no characters.</summary>
    public static void Add(ByteNfa nfa, int from, int to, int low, int high)
    {
        Split(low, Math.Min(high, 0xD7FF));
        Split(Math.Max(low, 0xE000), high);

        void Split(int a, int b)
        {
            foreach (int limit in (ReadOnlySpan<int>)[0x7F, 0x7FF, 0xFFFF, Most])
            {
                if (a <= Math.Min(b, limit))
                {
                    Same(a, Math.Min(b, limit), Length(limit));
                    a = limit + 1;
                }
            }
        }

        // Characters of one length: cut until all but the first bytes range freely.
        void Same(int a, int b, int length)
        {
            for (int i = 1; i < length; i++)
            {
                int mask = (1 << (6 * i)) - 1;
                if ((a & ~mask) != (b & ~mask))
                {
                    if ((a & mask) != 0)
                    {
                        Same(a, a | mask, length);
                        Same((a | mask) + 1, b, length);
                        return;
                    }
                    if ((b & mask) != mask)
                    {
                        Same(a, (b & ~mask) - 1, length);
                        Same(b & ~mask, b, length);
                        return;
                    }
                }
            }
            Span<byte> first = stackalloc byte[4], last = stackalloc byte[4];
            new System.Text.Rune(a).EncodeToUtf8(first);
            new System.Text.Rune(b).EncodeToUtf8(last);
            int at = from;
            for (int i = 0; i < length; i++)
            {
                int next = i == length - 1 ? to : nfa.State();
                nfa.Add(at, first[i], last[i], next);
                at = next;
            }
        }
    }

    static int Length(int limit) => limit <= 0x7F ? 1 : limit <= 0x7FF ? 2 : limit <= 0xFFFF ? 3 : 4;

    /// <summary>The characters of a set, as ranges in order.</summary>
    public static List<(int Low, int High)> Of(CharSet set)
    {
        var ranges = new List<(int, int)>();
        int start = -1;
        for (int c = 0; c <= Most + 1; c++)
        {
            bool inside = c <= Most && c is < 0xD800 or > 0xDFFF && set.Contains(c);
            if (inside && start < 0)
            {
                start = c;
            }
            else if (!inside && start >= 0 && c is not (>= 0xD800 and <= 0xDFFF))
            {
                ranges.Add((start, c - 1));
                start = -1;
            }
        }
        return ranges;
    }
}
