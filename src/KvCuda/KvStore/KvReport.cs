using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;

namespace KvCuda.KvStore;

/// <summary>Where tokens that need not be computed came from.</summary>
internal enum KvHit
{
    /// <summary>An earlier turn of the same session.</summary>
    Session,

    /// <summary>Another sequence of the same scope.</summary>
    Shared,

    /// <summary>A pinned prefix.</summary>
    Pinned,

    /// <summary>A snapshot.</summary>
    Restored,
}

/// <summary>Counts of durations by powers of two: bucket i counts those in [2^(i-1), 2^i) milliseconds, bucket 0 those of 0.</summary>
internal sealed class DurationHistogram
{
    readonly long[] buckets = new long[64];

    public long Count { get; private set; }

    public void Add(long milliseconds)
    {
        buckets[milliseconds <= 0 ? 0 : 64 - BitOperations.LeadingZeroCount((ulong)milliseconds)]++;
        Count++;
    }

    /// <summary>The upper end of the bucket in which this share of the durations is reached, in milliseconds.</summary>
    public long Quantile(double share)
    {
        long seen = 0;
        for (int i = 0; i < buckets.Length; i++)
        {
            seen += buckets[i];
            if (seen > 0 && seen >= share * Count)
            {
                return i == 0 ? 0 : 1L << Math.Min(i, 62);
            }
        }
        return 0;
    }
}

/// <summary>What the store counts as it works.</summary>
internal sealed class KvCounters
{
    /// <summary>Prompt tokens that were looked up.</summary>
    public long Queried { get; set; }

    /// <summary>Tokens found, per <see cref="KvHit"/>.</summary>
    public long[] Hits { get; } = new long[4];

    /// <summary>Pages that entered the prefix tree.</summary>
    public long Published { get; set; }

    /// <summary>Pages that left it from the device, per <see cref="KvEviction"/>.</summary>
    public long[] Evicted { get; } = new long[3];

    /// <summary>Pages that left it from the host tier, per <see cref="KvEviction"/>.</summary>
    public long[] EvictedFromTier { get; } = new long[3];

    /// <summary>Pages that went to the host tier.</summary>
    public long MovedDown { get; set; }

    /// <summary>Pages that came back from it.</summary>
    public long MovedUp { get; set; }

    /// <summary>Of the tokens found, those of which a page came from the host tier.</summary>
    public long HitInTier { get; set; }

    /// <summary>Pages copied because a shared one was written.</summary>
    public long Copied { get; set; }

    /// <summary>How long pages were in the tree when they left it.</summary>
    public DurationHistogram Lifetimes { get; } = new();

    /// <summary>How long pages that were found had not been used.</summary>
    public DurationHistogram ReuseGaps { get; } = new();
}

/// <summary>What the host tier did.</summary>
/// <param name="MovedDown">pages that went to it</param>
/// <param name="MovedUp">pages that came back</param>
/// <param name="Hit">tokens found of which a page came from it</param>
/// <param name="Evicted">pages forgotten from it, per <see cref="KvEviction"/></param>
internal sealed record KvTierReport(long MovedDown, long MovedUp, long Hit, IReadOnlyList<long> Evicted);

/// <summary>The store at one moment, for people and for programs.</summary>
/// <param name="Usage">free / active / cached / pinned</param>
/// <param name="BytesPerToken">of all owning layers, windows not yet passed</param>
/// <param name="Queried">prompt tokens looked up</param>
/// <param name="Hits">tokens found, per <see cref="KvHit"/></param>
/// <param name="Published">pages that entered the prefix tree</param>
/// <param name="Evicted">pages that left it from the device, per <see cref="KvEviction"/></param>
/// <param name="Copied">pages copied on write</param>
/// <param name="Moved">pages moved to free a slab</param>
/// <param name="Sequences">open ones</param>
/// <param name="LifetimeMedian">milliseconds that pages stayed in the tree, to the next power of two; 0: none left yet</param>
/// <param name="Lifetime95">its 95th percentile</param>
/// <param name="ReuseGapMedian">milliseconds between uses of a page that was found</param>
/// <param name="ReuseGap95">its 95th percentile</param>
/// <param name="Layers">bytes per token by layer; 0 for layers that read another's</param>
/// <param name="Tier">the host tier's part</param>
internal sealed record KvReport(
    KvUsage Usage, long BytesPerToken, long Queried, IReadOnlyList<long> Hits, long Published, IReadOnlyList<long> Evicted,
    long Copied, long Moved, int Sequences, long LifetimeMedian, long Lifetime95, long ReuseGapMedian, long ReuseGap95,
    IReadOnlyList<long> Layers, KvTierReport Tier)
{
    /// <summary>Tokens found.</summary>
    public long Hit => Hits.Sum();

    /// <summary>The share of looked-up tokens that were found; 0 if none was looked up.</summary>
    public double HitRate => Queried == 0 ? 0 : (double)Hit / Queried;

    /// <summary>A few lines of text.</summary>
    public override string ToString()
    {
        KvUsage u = Usage;
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"KV store: {Size(u.ArenaBytes)} in slabs of {Size(u.SlabBytes)}, {BytesPerToken} bytes per token, {Sequences} open sequences\n");
        text.Append(CultureInfo.InvariantCulture, $"  free {Size(u.FreeBytes)}, active {Size(u.ActiveBytes)}, cached {Size(u.CachedBytes)}, pinned {Size(u.PinnedBytes)}; fragmentation {u.Fragmentation:P1}\n");
        for (int c = 0; c < u.Kinds.Count; c++)
        {
            KvKindUsage k = u.Kinds[c];
            text.Append(CultureInfo.InvariantCulture, $"  kind {c}: pages of {Size(k.PageBytes)} in {k.Slabs} slabs: free {k.Free}, active {k.Active}, cached {k.Cached}, pinned {k.Pinned}\n");
        }
        text.Append(CultureInfo.InvariantCulture, $"  tokens found: {Hit} of {Queried} ({HitRate:P1}): session {Hits[0]}, shared {Hits[1]}, pinned {Hits[2]}, restored {Hits[3]}\n");
        text.Append(CultureInfo.InvariantCulture, $"  pages published {Published}, evicted {Evicted.Sum()}: for room {Evicted[0]}, expired {Evicted[1]}, cleared {Evicted[2]}; copied on write {Copied}, moved {Moved}\n");
        if (u.HostArenaBytes > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"  host tier: {Size(u.HostArenaBytes)}: cached {Size(u.HostCachedBytes)} in {string.Join(" + ", u.Kinds.Select(k => k.HostCached))} pages; moved down {Tier.MovedDown}, up {Tier.MovedUp}; tokens found there {Tier.Hit}; forgotten {Tier.Evicted.Sum()}: for room {Tier.Evicted[0]}, expired {Tier.Evicted[1]}, cleared {Tier.Evicted[2]}\n");
        }
        text.Append(CultureInfo.InvariantCulture, $"  page lifetime, median / 95 %: below {LifetimeMedian} / {Lifetime95} ms; time between uses: below {ReuseGapMedian} / {ReuseGap95} ms\n");
        return text.ToString();
    }

    /// <summary>The same as one JSON object.</summary>
    /// <param name="more">writes further members</param>
    public string ToJson(Action<Utf8JsonWriter>? more = null)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream))
        {
            KvUsage u = Usage;
            json.WriteStartObject();
            json.WriteNumber("arena_bytes", u.ArenaBytes);
            json.WriteNumber("slab_bytes", u.SlabBytes);
            json.WriteNumber("free_slabs", u.FreeSlabs);
            json.WriteNumber("free_bytes", u.FreeBytes);
            json.WriteNumber("active_bytes", u.ActiveBytes);
            json.WriteNumber("cached_bytes", u.CachedBytes);
            json.WriteNumber("pinned_bytes", u.PinnedBytes);
            json.WriteNumber("fragmentation", u.Fragmentation);
            json.WriteNumber("host_arena_bytes", u.HostArenaBytes);
            json.WriteNumber("host_cached_bytes", u.HostCachedBytes);
            json.WriteNumber("host_free_bytes", u.HostFreeBytes);
            json.WriteNumber("bytes_per_token", BytesPerToken);
            json.WriteStartArray("bytes_per_token_by_layer");
            foreach (long bytes in Layers)
            {
                json.WriteNumberValue(bytes);
            }
            json.WriteEndArray();
            json.WriteStartArray("kinds");
            foreach (KvKindUsage k in u.Kinds)
            {
                json.WriteStartObject();
                json.WriteNumber("page_bytes", k.PageBytes);
                json.WriteNumber("slabs", k.Slabs);
                json.WriteNumber("free", k.Free);
                json.WriteNumber("active", k.Active);
                json.WriteNumber("cached", k.Cached);
                json.WriteNumber("pinned", k.Pinned);
                json.WriteNumber("host_cached", k.HostCached);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteNumber("sequences", Sequences);
            json.WriteNumber("tokens_queried", Queried);
            json.WriteNumber("tokens_hit_session", Hits[(int)KvHit.Session]);
            json.WriteNumber("tokens_hit_shared", Hits[(int)KvHit.Shared]);
            json.WriteNumber("tokens_hit_pinned", Hits[(int)KvHit.Pinned]);
            json.WriteNumber("tokens_hit_restored", Hits[(int)KvHit.Restored]);
            json.WriteNumber("pages_published", Published);
            json.WriteNumber("pages_evicted_capacity", Evicted[(int)KvEviction.Capacity]);
            json.WriteNumber("pages_evicted_expired", Evicted[(int)KvEviction.Expired]);
            json.WriteNumber("pages_evicted_cleared", Evicted[(int)KvEviction.Cleared]);
            json.WriteNumber("pages_moved_down", Tier.MovedDown);
            json.WriteNumber("pages_moved_up", Tier.MovedUp);
            json.WriteNumber("tokens_hit_in_host_tier", Tier.Hit);
            json.WriteNumber("host_pages_evicted_capacity", Tier.Evicted[(int)KvEviction.Capacity]);
            json.WriteNumber("host_pages_evicted_expired", Tier.Evicted[(int)KvEviction.Expired]);
            json.WriteNumber("host_pages_evicted_cleared", Tier.Evicted[(int)KvEviction.Cleared]);
            json.WriteNumber("pages_copied", Copied);
            json.WriteNumber("pages_moved", Moved);
            json.WriteNumber("lifetime_ms_p50", LifetimeMedian);
            json.WriteNumber("lifetime_ms_p95", Lifetime95);
            json.WriteNumber("reuse_gap_ms_p50", ReuseGapMedian);
            json.WriteNumber("reuse_gap_ms_p95", ReuseGap95);
            more?.Invoke(json);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    static string Size(long bytes) => bytes switch
    {
        >= 1L << 30 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.##} GiB"),
        >= 1L << 20 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 20):0.##} MiB"),
        >= 1L << 10 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 10):0.##} KiB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes} B"),
    };
}
