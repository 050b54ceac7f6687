using System.Diagnostics.Metrics;
using KvCuda.Engine;

namespace KvCuda.Extensions;

/// <summary>
/// The store's numbers as observable instruments of the meter <see cref="KvCudaTelemetry.Name"/>: pages and bytes that are free, active, cached
/// and pinned, tokens looked up and found, evictions, requests. Every measurement has the tag <c>kvcuda.model</c>.
/// </summary>
/// <remarks>
/// An observation asks the engine between two of its steps. If it does not answer within a second, the last known numbers are told.
/// Made by <c>AddKvCuda</c>; without a container, <c>using KvStoreMetrics metrics = new(engine);</c>.
/// </remarks>
public sealed class KvStoreMetrics : IDisposable
{
    static readonly TimeSpan patience = TimeSpan.FromSeconds(1), together = TimeSpan.FromMilliseconds(100);

    readonly KvEngine engine;
    readonly KeyValuePair<string, object?> model;
    readonly Meter? own;
    readonly Lock gate = new();
    KvStatus? status;
    long asked = long.MinValue;
    volatile bool disposed;

    /// <param name="engine">whose store</param>
    /// <param name="meters">null: a meter of its own, which goes with this object</param>
    /// <param name="modelId">null: the name of the model's folder</param>
    public KvStoreMetrics(KvEngine engine, IMeterFactory? meters = null, string? modelId = null)
    {
        ArgumentNullException.ThrowIfNull(engine);
        this.engine = engine;
        model = new("kvcuda.model", modelId ?? KvChatClient.NameOf(engine.ModelFolder));
        MeterOptions options = new(KvCudaTelemetry.Name) { Tags = [model] };
        Meter meter = meters?.Create(options) ?? (own = new Meter(options));

        meter.CreateObservableUpDownCounter("kvcuda.store.bytes", () => By("kvcuda.state",
            ("free", s => s.FreeBytes), ("active", s => s.ActiveBytes), ("cached", s => s.CachedBytes), ("pinned", s => s.PinnedBytes)),
            "By", "Bytes of keys and values, by what they are for.");
        meter.CreateObservableUpDownCounter("kvcuda.store.pages", () => By("kvcuda.state",
            ("free", s => s.FreePages), ("active", s => s.ActivePages), ("cached", s => s.CachedPages), ("pinned", s => s.PinnedPages)),
            "{page}", "Pages of keys and values, by what they are for; free ones in slabs that have been cut in pages.");
        meter.CreateObservableCounter("kvcuda.store.tokens.queried", () => One(s => s.QueriedTokens), "{token}", "Prompt tokens looked up in the cache.");
        meter.CreateObservableCounter("kvcuda.store.tokens.found", () => By("kvcuda.source",
            ("session", s => s.FoundInSession), ("shared", s => s.FoundShared), ("pinned", s => s.FoundPinned), ("restored", s => s.FoundRestored)),
            "{token}", "Of those, tokens that were found, by who had computed them.");
        meter.CreateObservableGauge("kvcuda.store.hit_rate", HitRate, "1", "The share of looked-up tokens that were found, since the engine was loaded.");
        meter.CreateObservableGauge("kvcuda.store.fragmentation", () => Observe<double>(s => [new(s.Fragmentation, model)]),
            "1", "The share of the arena that is free, but bound to one kind of page.");
        meter.CreateObservableCounter("kvcuda.store.evictions", () => By("kvcuda.cause",
            ("room", s => s.EvictedForRoom), ("expired", s => s.EvictedExpired), ("cleared", s => s.EvictedCleared)),
            "{page}", "Pages that left the cache.");
        meter.CreateObservableUpDownCounter("kvcuda.store.host.bytes", () => Observe<long>(s => s.HostArenaBytes == 0 ? [] :
            [With(s.HostCachedBytes, "kvcuda.state", "cached"), With(s.HostArenaBytes - s.HostCachedBytes, "kvcuda.state", "free")]),
            "By", "Bytes of the host tier, where there is one.");
        meter.CreateObservableUpDownCounter("kvcuda.requests", () => By("kvcuda.state",
            ("running", s => s.RunningRequests), ("waiting", s => s.WaitingRequests)), "{request}", "Requests in the batch, and those that wait for room.");
        meter.CreateObservableCounter("kvcuda.preemptions", () => One(s => s.Preemptions), "{preemption}", "Times a request gave its pages back for an older one.");
    }

    /// <summary>Nothing is observed any more.</summary>
    public void Dispose()
    {
        disposed = true;
        own?.Dispose();
    }

    IEnumerable<Measurement<double>> HitRate() =>
        Observe<double>(s => s.QueriedTokens == 0 ? [] : [new((double)s.FoundTokens / s.QueriedTokens, model)]);

    IEnumerable<Measurement<long>> One(Func<KvStatus, long> value) => Observe<long>(s => [new(value(s), model)]);

    IEnumerable<Measurement<long>> By(string tag, params (string Name, Func<KvStatus, long> Value)[] parts) =>
        Observe<long>(s => parts.Select(part => With(part.Value(s), tag, part.Name)));

    Measurement<long> With(long value, string tag, string name) => new(value, model, new KeyValuePair<string, object?>(tag, name));

    IEnumerable<Measurement<T>> Observe<T>(Func<KvStatus, IEnumerable<Measurement<T>>> measure)
        where T : struct => Status() is { } now ? measure(now) : [];

    // The instruments of one collection are asked one after the other: they share an answer.
    KvStatus? Status()
    {
        lock (gate)
        {
            if (disposed || engine.Failure is not null)
            {
                return null;
            }
            long now = Environment.TickCount64;
            if (now < asked + (long)together.TotalMilliseconds && status is not null)
            {
                return status;
            }
            Task<KvStatus> asking = engine.GetKvStatusAsync();
            try
            {
                if (asking.Wait(patience))
                {
                    (status, asked) = (asking.Result, Environment.TickCount64);
                }
            }
            catch (AggregateException)
            {
                status = null; // the engine is gone
            }
            return status;
        }
    }
}
