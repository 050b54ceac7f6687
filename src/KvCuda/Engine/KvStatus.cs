// What the store holds and what it did, as numbers.
using KvCuda.KvStore;

namespace KvCuda.Engine;

/// <summary>The store at one moment. Free, active, cached and pinned bytes add up to the arena.</summary>
public sealed class KvStatus
{
    readonly KvReport report;

    internal KvStatus(KvReport report, long budgetBytes, int running, int waiting, long preemptions)
    {
        this.report = report;
        (BudgetBytes, RunningRequests, WaitingRequests, Preemptions) = (budgetBytes, running, waiting, preemptions);
    }

    /// <summary>Steps that were run.</summary>
    public long Steps { get; internal init; }

    /// <summary>Tokens of prompts that were computed, again after a preemption included.</summary>
    public long ComputedPromptTokens { get; internal init; }

    /// <summary>Tokens that were chosen, as they were, also of answers that never ended.</summary>
    public long GeneratedTokens { get; internal init; }

    /// <summary>Seconds of steps that went to prompts.</summary>
    public double PromptSeconds { get; internal init; }

    /// <summary>Requests that came to their end, per <see cref="FinishReason"/> by its number.</summary>
    public IReadOnlyList<long> Finished { get; internal init; } = [0, 0, 0, 0];

    /// <summary>Seconds of computing that the tokens found in the cache saved, at what a prompt's token has cost so far.</summary>
    public double SavedSeconds => ComputedPromptTokens == 0 ? 0 : FoundTokens * PromptSeconds / ComputedPromptTokens;

    /// <summary>Bytes of keys and values of a token, by the layer that owns them; 0 for layers that read another's.</summary>
    public IReadOnlyList<long> BytesPerTokenByLayer => report.Layers;

    /// <summary>Milliseconds that pages stayed in the cache, median to the next power of two; 0: none has left.</summary>
    public long LifetimeMedianMilliseconds => report.LifetimeMedian;

    /// <summary>Milliseconds between uses of a page that was found, 95th percentile to the next power of two.</summary>
    public long ReuseGap95Milliseconds => report.ReuseGap95;

    /// <summary>Bytes the store was given.</summary>
    public long BudgetBytes { get; }

    /// <summary>Bytes of the arena: the budget in whole slabs.</summary>
    public long ArenaBytes => report.Usage.ArenaBytes;

    /// <summary>Bytes that hold nothing.</summary>
    public long FreeBytes => report.Usage.FreeBytes;

    /// <summary>Bytes of pages that running sequences use.</summary>
    public long ActiveBytes => report.Usage.ActiveBytes;

    /// <summary>Bytes of pages kept for later prompts; they make room when room is needed.</summary>
    public long CachedBytes => report.Usage.CachedBytes;

    /// <summary>Bytes of pages that stay until they are unpinned.</summary>
    public long PinnedBytes => report.Usage.PinnedBytes;

    /// <summary>Pages that hold nothing, in slabs that have been cut in pages; slabs that have not are bytes only.</summary>
    public int FreePages => report.Usage.FreePages;

    /// <summary>Pages that running sequences use.</summary>
    public int ActivePages => report.Usage.ActivePages;

    /// <summary>Pages kept for later prompts.</summary>
    public int CachedPages => report.Usage.CachedPages;

    /// <summary>Pages that stay until they are unpinned.</summary>
    public int PinnedPages => report.Usage.PinnedPages;

    /// <summary>Bytes of the host tier; 0: there is none.</summary>
    public long HostArenaBytes => report.Usage.HostArenaBytes;

    /// <summary>Bytes of cached pages in the host tier; the others hold nothing.</summary>
    public long HostCachedBytes => report.Usage.HostCachedBytes;

    /// <summary>Pages that went to the host tier so far.</summary>
    public long MovedDownPages => report.Tier.MovedDown;

    /// <summary>Pages that came back from it.</summary>
    public long MovedUpPages => report.Tier.MovedUp;

    /// <summary>Of the tokens found, those that came from the host tier.</summary>
    public long FoundInHostTierTokens => report.Tier.Hit;

    /// <summary>Prompt tokens that were looked up in the cache.</summary>
    public long QueriedTokens => report.Queried;

    /// <summary>Of those, tokens that were found.</summary>
    public long FoundTokens => report.Hit;

    /// <summary>Requests in the batch.</summary>
    public int RunningRequests { get; }

    /// <summary>Requests that wait for room.</summary>
    public int WaitingRequests { get; }

    /// <summary>Times a request gave its pages back for an older one.</summary>
    public long Preemptions { get; }

    /// <summary>Of <see cref="FoundTokens"/>, those of an earlier turn of the same session.</summary>
    public long FoundInSession => report.Hits[(int)KvHit.Session];

    /// <summary>Those that another request or session had computed.</summary>
    public long FoundShared => report.Hits[(int)KvHit.Shared];

    /// <summary>Those of a precomputed prompt.</summary>
    public long FoundPinned => report.Hits[(int)KvHit.Pinned];

    /// <summary>Those of a snapshot.</summary>
    public long FoundRestored => report.Hits[(int)KvHit.Restored];

    /// <summary>Pages that left the cache because room was needed.</summary>
    public long EvictedForRoom => report.Evicted[(int)KvEviction.Capacity];

    /// <summary>Pages that left it at the end of their time to live.</summary>
    public long EvictedExpired => report.Evicted[(int)KvEviction.Expired];

    /// <summary>Pages that left it because a caller cleared them.</summary>
    public long EvictedCleared => report.Evicted[(int)KvEviction.Cleared];

    /// <summary>The share of the arena that is free, but bound to one kind of page.</summary>
    public double Fragmentation => report.Usage.Fragmentation;

    /// <summary>Everything as a few lines of text.</summary>
    public override string ToString() => report + string.Create(System.Globalization.CultureInfo.InvariantCulture,
        $"  requests: running {RunningRequests}, waiting {WaitingRequests}, preempted {Preemptions} times; budget {BudgetBytes} bytes\n");

    /// <summary>Everything as one JSON object.</summary>
    public string ToJson() => report.ToJson(json =>
    {
        json.WriteNumber("budget_bytes", BudgetBytes);
        json.WriteNumber("requests_running", RunningRequests);
        json.WriteNumber("requests_waiting", WaitingRequests);
        json.WriteNumber("preemptions", Preemptions);
    });
}
