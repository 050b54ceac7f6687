// How much memory the store gets when nobody says.
using KvCuda.Backends;
using KvCuda.KvStore;

namespace KvCuda.Model;

/// <summary>How much memory the store gets when nobody says.</summary>
internal static class KvBudget
{
    /// <summary>
    /// Enough for every sequence at full length, one that slides with the largest window included, but at most the share of the
    /// backend's memory that may be taken unasked (<see cref="MemoryInfo.KvShare"/>).
    /// </summary>
    /// <param name="layout">bytes of pages</param>
    /// <param name="maxContext">longest sequence in tokens</param>
    /// <param name="options">most sequences, rows of a step, tokens of a page</param>
    /// <param name="memory">where the pages will live</param>
    public static long Default(KvLayout layout, int maxContext, LoadOptions options, in MemoryInfo memory)
    {
        // Sliding, a sequence holds its sinks, its window and a step's rows, the first and the last page of each partly.
        long tokens = (long)maxContext + options.MaxStepTokens;
        long pages = options.MaxSequences * ((tokens + options.PageTokens - 1) / options.PageTokens + 3);
        double all = (double)pages * layout.Classes.Sum(pageClass => pageClass.PageBytes);
        // Cut in slabs, up to a slab of 16 and 2 % of each are lost.
        return (long)Math.Max(Math.Min(all * 1.1, memory.KvShare), 4 << 20);
    }
}
