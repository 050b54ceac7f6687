// What the figures say should be changed.
using System.Globalization;
using KvCuda.Engine;

namespace KvCuda.Server;

/// <summary>Advice from what was seen: each names the figure that it comes from, and the option that answers it.</summary>
static class Advice
{
    public static List<string> Of(LiveFigures figures, KvPicture picture, KvServerOptions options)
    {
        KvStatus now = picture.Status;
        List<string> all = [];
        long evicted = figures.Of(s => s.EvictedForRoom);
        if (evicted > 0 && now.LifetimeMedianMilliseconds > 0 && now.ReuseGap95Milliseconds > now.LifetimeMedianMilliseconds)
        {
            all.Add(Say($"The cache is too small for how it is used: pages come back after up to {Time(now.ReuseGap95Milliseconds)} and half of them are gone after {Time(now.LifetimeMedianMilliseconds)}. A larger --kv-budget would find more."));
        }
        if (figures.Of(s => s.Preemptions) is > 0 and long preemptions)
        {
            all.Add(Say($"{preemptions} requests of the last minute gave their pages back and were computed again. A larger --kv-budget, or fewer --max-sequences than {options.Engine.MaxSequences}, would let them go on."));
        }
        if (now.WaitingRequests > 0 && now.RunningRequests >= options.Engine.MaxSequences && now.FreeBytes + now.CachedBytes > now.ArenaBytes / 2)
        {
            all.Add(Say($"{now.WaitingRequests} requests wait though half of the arena could make room: more --max-sequences than {options.Engine.MaxSequences} would run them."));
        }
        KvPictureBranch? hot = picture.Branches.Where(branch => branch.Pinned == 0 && branch.Hits >= 10).MaxBy(branch => branch.Hits * branch.TrunkTokens);
        if (hot is not null && now.EvictedForRoom > 0 && now.ComputedPromptTokens > 0)
        {
            double cost = hot.TrunkTokens * now.PromptSeconds / now.ComputedPromptTokens;
            all.Add(Say($"A prefix of {hot.TrunkTokens} tokens was found {hot.Hits} times and is not pinned; should it be evicted, computing it again takes {Time(cost * 1000)}. PrecomputeAsync, or a system prompt of the service, pins it."));
        }
        if (now.QueriedTokens >= 10_000 && figures.HitRate(2000) is < 0.05)
        {
            all.Add(Say($"Of the prompt tokens of the last minute {figures.HitRate(1):P0} were found. Prompts that begin alike are found in whole pages of {picture.PageTokens} tokens: put what changes (dates, names) last, or take smaller --page-tokens."));
        }
        if (now.Fragmentation > 0.2)
        {
            all.Add(Say($"{now.Fragmentation:P0} of the arena is free, but bound to one kind of page."));
        }
        return all;
    }

    static string Say(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    static string Time(double milliseconds) => milliseconds < 1000 ? Say($"{milliseconds:F0} ms") : milliseconds < 120_000 ? Say($"{milliseconds / 1000:F1} s") : Say($"{milliseconds / 60_000:F0} min");
}
