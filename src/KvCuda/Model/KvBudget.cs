using KvCuda.KvStore;

namespace KvCuda.Model;

/// <summary>How much memory the store gets when nobody says.</summary>
internal static class KvBudget
{
    /// <summary>
    /// Enough for every sequence at full length, one that slides with the largest window included, but at most a quarter of
    /// the machine's memory: the arena is only reserved, a page costs memory when it is first written.
    /// </summary>
    public static long Default(KvLayout layout, int maxContext, LoadOptions options)
    {
        long quarter = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;
        // Sliding, a sequence holds its sinks, its window and a step's rows, the first and the last page of each partly.
        long tokens = (long)maxContext + options.MaxRows;
        long pages = options.MaxSequences * ((tokens + options.PageTokens - 1) / options.PageTokens + 3);
        double all = (double)pages * layout.Classes.Sum(pageClass => pageClass.PageBytes);
        // Cut in slabs, up to a slab of 16 and 2 % of each are lost.
        return (long)Math.Max(Math.Min(all * 1.1, quarter), 4 << 20);
    }
}
