using System.Text;

namespace KvCuda.Engine;

/// <summary>
/// Lets text through up to the first stop text, holding back only what could still become one: stop texts are found
/// wherever the tokens that spell them are cut.
/// </summary>
internal sealed class StopMatcher(IReadOnlyList<string> stops)
{
    readonly StringBuilder held = new();

    /// <summary>A stop text has been seen; nothing more comes out.</summary>
    public bool Stopped { get; private set; }

    /// <summary>Takes more text and returns what is certain.</summary>
    public string Append(string text)
    {
        if (Stopped || stops.Count == 0)
        {
            return Stopped ? "" : text;
        }
        held.Append(text);
        string all = held.ToString();
        int first = -1;
        foreach (string stop in stops)
        {
            int at = all.IndexOf(stop, StringComparison.Ordinal);
            if (at >= 0 && (first < 0 || at < first))
            {
                first = at;
            }
        }
        Stopped = first >= 0;
        int certain = Stopped ? first : all.Length - LongestOpening(all);
        held.Clear();
        if (!Stopped)
        {
            held.Append(all, certain, all.Length - certain);
        }
        return all[..certain];
    }

    /// <summary>Ends the text: what was held back is no stop text after all.</summary>
    public string Flush()
    {
        string rest = Stopped ? "" : held.ToString();
        held.Clear();
        return rest;
    }

    // Length of the longest end of the text that begins a stop text.
    int LongestOpening(string text)
    {
        int longest = 0;
        foreach (string stop in stops)
        {
            for (int length = Math.Min(stop.Length - 1, text.Length); length > longest; length--)
            {
                if (text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length)))
                {
                    longest = length;
                }
            }
        }
        return longest;
    }
}
