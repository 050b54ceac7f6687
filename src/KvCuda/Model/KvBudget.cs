using KvCuda.KvStore;

namespace KvCuda.Model;

/// <summary>How much memory the store gets when nobody says.</summary>
internal static class KvBudget
{
    /// <summary>
    /// Enough for every sequence at full length, but at most a quarter of the machine's memory: the arena is only reserved,
    /// a page costs memory when it is first written.
    /// </summary>
    public static long Default(KvLayout layout, int maxContext, LoadOptions options)
    {
        long quarter = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;
        long pages = (long)options.MaxSequences * ((maxContext + options.PageTokens - 1) / options.PageTokens + 1);
        double all = (double)pages * layout.Classes.Sum(pageClass => pageClass.PageBytes);
        return (long)Math.Max(Math.Min(all * 1.05, quarter), 4 << 20);
    }
}
