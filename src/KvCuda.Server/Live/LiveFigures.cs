// What the last minute was like: differences of running sums.
using KvCuda.Engine;

namespace KvCuda.Server;

/// <summary>The running sums at one moment.</summary>
/// <param name="At">seconds, from any beginning</param>
/// <param name="Status">the store's and the engine's</param>
/// <param name="FirstToken">times to the first token</param>
/// <param name="InterToken">times between tokens</param>
sealed record LiveSample(double At, KvStatus Status, HistogramSums FirstToken, HistogramSums InterToken);

/// <summary>Counts of a histogram by bucket, the last without a bound.</summary>
sealed record HistogramSums(double[] Bounds, long[] Counts)
{
    public static HistogramSums None { get; } = new([], [0]);

    public HistogramSums Since(HistogramSums before) => before.Counts.Length != Counts.Length ? this
        : this with { Counts = [.. Counts.Select((count, i) => count - before.Counts[i])] };

    public long Total => Counts.Sum();

    /// <summary>Where this share is reached, by straight lines within buckets; null: nothing was counted.</summary>
    public double? Quantile(double share)
    {
        double wanted = share * Total, seen = 0;
        for (int i = 0; i < Counts.Length; i++)
        {
            if (Counts[i] > 0 && seen + Counts[i] >= wanted)
            {
                double low = i == 0 ? 0 : Bounds[i - 1];
                return i == Bounds.Length ? low : low + ((Bounds[i] - low) * Math.Clamp((wanted - seen) / Counts[i], 0, 1));
            }
            seen += Counts[i];
        }
        return null;
    }
}

/// <summary>The samples of the last minute, and what lies between the first and the last of them.</summary>
sealed class LiveFigures
{
    const double Span = 60;

    readonly Queue<LiveSample> samples = new();

    public void Add(LiveSample sample)
    {
        while (samples.TryPeek(out LiveSample? first) && first.At < sample.At - Span)
        {
            samples.Dequeue();
        }
        samples.Enqueue(sample);
        Last = sample;
    }

    public LiveSample? Last { get; private set; }

    LiveSample? First => samples.TryPeek(out LiveSample? first) ? first : null;

    public HistogramSums FirstToken => Last is null ? HistogramSums.None : Last.FirstToken.Since(First!.FirstToken);

    public HistogramSums InterToken => Last is null ? HistogramSums.None : Last.InterToken.Since(First!.InterToken);

    public long Of(Func<KvStatus, long> sum) => Last is null ? 0 : sum(Last.Status) - sum(First!.Status);

    public double PerSecond(Func<KvStatus, long> sum) => Last is null || Last.At <= First!.At ? 0 : Of(sum) / (Last.At - First.At);

    /// <summary>The share of looked-up tokens that were found; null: none was looked up.</summary>
    public double? HitRate(long least = 1) => Of(s => s.QueriedTokens) is var asked && asked >= least ? (double)Of(s => s.FoundTokens) / asked : null;

    public double? Figure(KvFigure figure) => Last is not { } now ? null : figure switch
    {
        KvFigure.Memory => now.Status.ArenaBytes == 0 ? null : (double)(now.Status.ActiveBytes + now.Status.PinnedBytes) / now.Status.ArenaBytes,
        KvFigure.HitRate => HitRate(1000),
        KvFigure.TimeToFirstToken => FirstToken.Quantile(0.95),
        KvFigure.InterToken => InterToken.Quantile(0.95),
        KvFigure.Evictions => PerSecond(s => s.EvictedForRoom),
        KvFigure.Preemptions => PerSecond(s => s.Preemptions),
        KvFigure.Waiting => now.Status.WaitingRequests,
        _ => now.Status.Fragmentation,
    };
}
