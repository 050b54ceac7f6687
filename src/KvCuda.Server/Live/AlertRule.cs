// What is worth an alert, and when it is over.
namespace KvCuda.Server;

/// <summary>A figure of the last minute that an alert looks at.</summary>
public enum KvFigure
{
    /// <summary>The share of the arena that cannot make room: active and pinned pages.</summary>
    Memory,

    /// <summary>The share of looked-up prompt tokens that were found; no figure where fewer than 1,000 were looked up.</summary>
    HitRate,

    /// <summary>Seconds to the first token, 95th percentile.</summary>
    TimeToFirstToken,

    /// <summary>Seconds between two tokens of an answer, 95th percentile.</summary>
    InterToken,

    /// <summary>Pages a second that left the cache because room was needed.</summary>
    Evictions,

    /// <summary>Requests a second that gave their pages back for an older one.</summary>
    Preemptions,

    /// <summary>Requests that wait.</summary>
    Waiting,

    /// <summary>The share of the arena that is free, but bound to one kind of page.</summary>
    Fragmentation,
}

/// <summary>When a figure raises an alert, and when that is over: two thresholds, so that it does not come and go at one.</summary>
/// <param name="Name">of the alert, in metrics and on the page</param>
/// <param name="Figure">what it looks at</param>
/// <param name="Raise">the value beyond which it is raised</param>
/// <param name="Clear">the value at which it is over; below <paramref name="Raise"/> the alert is about too much, above it about too little</param>
/// <param name="For">how long the figure must be beyond it</param>
public sealed record KvAlertRule(string Name, KvFigure Figure, double Raise, double Clear, TimeSpan For)
{
    /// <summary>Memory above 90 %, hit rate below 10 %, first token later than 2 s, 50 evictions a second, preemptions, 32 waiting, fragmentation above 30 %.</summary>
    public static IReadOnlyList<KvAlertRule> Defaults { get; } =
    [
        new("memory_high", KvFigure.Memory, 0.9, 0.8, TimeSpan.FromSeconds(30)),
        new("hit_rate_low", KvFigure.HitRate, 0.1, 0.2, TimeSpan.FromSeconds(60)),
        new("first_token_slow", KvFigure.TimeToFirstToken, 2, 1, TimeSpan.FromSeconds(30)),
        new("eviction_storm", KvFigure.Evictions, 50, 10, TimeSpan.FromSeconds(15)),
        new("preemptions", KvFigure.Preemptions, 1, 0.1, TimeSpan.FromSeconds(15)),
        new("queue_long", KvFigure.Waiting, 32, 8, TimeSpan.FromSeconds(30)),
        new("fragmentation_high", KvFigure.Fragmentation, 0.3, 0.2, TimeSpan.FromSeconds(60)),
    ];

    internal bool IsBeyond(double value) => Clear < Raise ? value > Raise : value < Raise;

    internal bool IsOver(double value) => Clear < Raise ? value <= Clear : value >= Clear;
}

/// <summary>An alert that was raised or is over.</summary>
/// <param name="Rule">its rule</param>
/// <param name="Raised">it begins; false: it is over</param>
/// <param name="Value">of its figure</param>
public sealed record KvAlert(KvAlertRule Rule, bool Raised, double Value);
