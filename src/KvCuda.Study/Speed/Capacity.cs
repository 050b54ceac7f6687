// How many sequences a budget of keys and values holds, and bytes per token: exact, from the store's own bookkeeping.
using KvCuda.KvStore;

namespace KvCuda.Study;

/// <summary>Answers of a store that has pages but no memory behind them.</summary>
internal static class Capacity
{
    /// <summary>Sequences of a length that fit a budget at once, found by filling a store; at most <paramref name="most"/>.</summary>
    /// <param name="layout">pages</param>
    /// <param name="budgetBytes">of the store</param>
    /// <param name="tokens">of each sequence at its end</param>
    /// <param name="most">where to stop counting</param>
    public static int Sequences(KvLayout layout, long budgetBytes, int tokens, int most = 4096)
    {
        KvStore.KvStore store;
        try
        {
            store = new(layout, budgetBytes);
        }
        catch (KvBudgetException)
        {
            return 0;
        }
        int[] filler = new int[Math.Min(256, tokens)];
        for (int count = 0; count < most; count++)
        {
            KvSequence sequence = store.Open();
            while (sequence.Length < tokens)
            {
                int some = Math.Min(filler.Length, tokens - sequence.Length);
                if (!store.TryReserve(sequence, some))
                {
                    return count;
                }
                store.Advance(sequence, filler.AsSpan(0, some));
            }
        }
        return most;
    }

    /// <summary>Bytes of pages that hold some sequences of a length at once: the smallest budget for them, to within a slab.</summary>
    public static long Budget(KvLayout layout, int sequences, int tokens)
    {
        // Windows keep what they see and a chunk; full classes everything; each in whole pages.
        long bytes = 0;
        foreach (KvClass pages in layout.Classes)
        {
            long kept = pages.IsFull ? tokens : Math.Min(tokens, pages.Window + 256);
            bytes += ((kept + layout.PageTokens - 1) / layout.PageTokens + (pages.IsFull ? 0 : 1)) * pages.PageBytes;
        }
        bytes *= sequences;
        long low = Math.Max(bytes, layout.Classes.Sum(pages => pages.PageBytes)), high = low;
        while (Sequences(layout, high, tokens, sequences) < sequences)
        {
            high += Math.Max(high / 128, 1 << 18);
        }
        return high;
    }
}
