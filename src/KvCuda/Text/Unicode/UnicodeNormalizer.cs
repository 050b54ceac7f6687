using System.Text;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Unicode;

/// <summary>NFC, NFD, NFKC, NFKD (UAX #15).</summary>
sealed class UnicodeNormalizer(bool compose, bool compatibility) : Normalizer
{
    const int HangulBase = 0xAC00, LBase = 0x1100, VBase = 0x1161, TBase = 0x11A7, LCount = 19, VCount = 21, TCount = 28;

    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output)
    {
        // Characters that are inert cut the text into runs that are normalised by themselves; nearly all runs are one character.
        NormalizationData? data = null;
        var run = new List<int>();
        int done = 0; // what lies before is in the output
        int starter = -1;
        for (int at = 0, length; at < text.Length; at += length)
        {
            int character = text[at];
            length = 1;
            bool inert = character < 0x80;
            if (!inert)
            {
                Rune.DecodeFromUtf8(text[at..], out Rune rune, out length);
                character = rune.Value;
                data ??= NormalizationData.Instance;
                inert = data.IsInert(character, compose, compatibility);
            }

            if (run.Count > 0)
            {
                if (!inert)
                {
                    run.Add(character);
                    continue;
                }

                Flush(run, data!, output);
                done = at;
            }

            if (inert)
            {
                starter = at;
                continue;
            }

            // An inert character right before may compose with this one.
            int from = starter >= done && starter >= 0 ? starter : at;
            output.Add(text[done..from]);
            if (from < at)
            {
                Rune.DecodeFromUtf8(text[from..], out Rune before, out _);
                run.Add(before.Value);
            }

            run.Add(character);
        }

        if (run.Count > 0)
        {
            Flush(run, data!, output);
        }
        else
        {
            output.Add(text[done..]);
        }
    }

    void Flush(List<int> run, NormalizationData data, ByteBuffer output)
    {
        var parts = new List<int>(run.Count * 2);
        foreach (int character in run)
        {
            Decompose(character, data, parts);
        }

        run.Clear();
        Order(parts, data);
        if (compose)
        {
            Compose(parts, data);
        }

        foreach (int part in parts)
        {
            output.Advance(new Rune(part).EncodeToUtf8(output.Reserve(4)));
        }
    }

    void Decompose(int character, NormalizationData data, List<int> parts)
    {
        int syllable = character - HangulBase;
        if ((uint)syllable < LCount * VCount * TCount)
        {
            parts.Add(LBase + (syllable / (VCount * TCount)));
            parts.Add(VBase + (syllable % (VCount * TCount) / TCount));
            if (syllable % TCount != 0)
            {
                parts.Add(TBase + (syllable % TCount));
            }
        }
        else if (data.Decomposition(character, compatibility) is { } decomposed)
        {
            parts.AddRange(decomposed);
        }
        else
        {
            parts.Add(character);
        }
    }

    // Marks between two starters are ordered by class, those of one class stay in order.
    static void Order(List<int> parts, NormalizationData data)
    {
        for (int i = 0; i < parts.Count;)
        {
            int end = i;
            bool sorted = true;
            while (end < parts.Count && data.ClassOf(parts[end]) != 0)
            {
                sorted &= end == i || data.ClassOf(parts[end - 1]) <= data.ClassOf(parts[end]);
                end++;
            }

            if (!sorted)
            {
                int[] ordered = [.. parts[i..end].OrderBy(data.ClassOf)];
                for (int k = 0; k < ordered.Length; k++)
                {
                    parts[i + k] = ordered[k];
                }
            }

            i = end + 1;
        }
    }

    static void Compose(List<int> parts, NormalizationData data)
    {
        int starter = -1, kept = 0;
        int lastClass = -1; // of what stands between the starter and here
        for (int i = 0; i < parts.Count; i++)
        {
            int character = parts[i], itsClass = data.ClassOf(character);
            bool blocked = starter < 0 || (lastClass >= itsClass && lastClass != -1);
            if (!blocked && Pair(parts[starter], character, data) is { } composed)
            {
                parts[starter] = composed;
                continue;
            }

            if (itsClass == 0)
            {
                starter = kept;
                lastClass = -1;
            }
            else
            {
                lastClass = itsClass;
            }

            parts[kept++] = character;
        }

        parts.RemoveRange(kept, parts.Count - kept);
    }

    static int? Pair(int first, int second, NormalizationData data)
    {
        int l = first - LBase, v = second - VBase, s = first - HangulBase, t = second - TBase;
        if ((uint)l < LCount && (uint)v < VCount)
        {
            return HangulBase + (((l * VCount) + v) * TCount);
        }

        if ((uint)s < LCount * VCount * TCount && s % TCount == 0 && t is > 0 and < TCount)
        {
            return first + t;
        }

        return data.Composition(first, second);
    }
}
