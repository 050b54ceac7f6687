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
    Histogram<double>? stepSeconds, stepRows, tokenSeconds;
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
        MoreOf(meter);
        meter.CreateObservableCounter("kvcuda.preemptions", () => One(s => s.Preemptions), "{preemption}", "Times a request gave its pages back for an older one.");
    }

    // Tokens as they are made, steps, ends, and what the cache saved.
    void MoreOf(Meter meter)
    {
        meter.CreateObservableCounter("kvcuda.tokens", () => By("kvcuda.token.kind", ("prompt_computed", s => s.ComputedPromptTokens),
            ("prompt_cached", s => s.FoundTokens), ("generated", s => s.GeneratedTokens)), "{token}", "Tokens as they are made, also of answers that never end.");
        meter.CreateObservableCounter("kvcuda.steps", () => One(s => s.Steps), "{step}", "Steps of the engine.");
        meter.CreateObservableCounter("kvcuda.requests.finished", () => By("kvcuda.finish_reason", ("end_of_sequence", s => s.Finished[0]),
            ("stop_text", s => s.Finished[1]), ("max_tokens", s => s.Finished[2]), ("context_full", s => s.Finished[3])),
            "{request}", "Requests that came to their end.");
        meter.CreateObservableCounter("kvcuda.saved", () => Observe<double>(s => [new(s.SavedSeconds, model)]), "s",
            "Computing that the tokens found in the cache saved, at what a prompt's token has cost so far.");
        meter.CreateObservableGauge("kvcuda.store.usage", () => Observe<double>(s =>
            [new(s.ArenaBytes == 0 ? 0 : (double)(s.ActiveBytes + s.PinnedBytes) / s.ArenaBytes, model)]), "1", "The share of the arena that cannot make room.");
        meter.CreateObservableUpDownCounter("kvcuda.store.arena", () => One(s => s.ArenaBytes), "By", "The arena.");
        meter.CreateObservableGauge("kvcuda.store.token", () => Observe<long>(s => s.BytesPerTokenByLayer.Select((bytes, layer) => (bytes, layer))
            .Where(owner => owner.bytes > 0).Select(owner => With(owner.bytes, "kvcuda.layer", owner.layer.ToString(System.Globalization.CultureInfo.InvariantCulture)))),
            "By", "Bytes of a token's keys and values, by the layer that owns them.");
        meter.CreateObservableGauge("kvcuda.info", () => Observe<long>(_ => [new(1, model, new("kvcuda.device", engine.Device),
            new("kvcuda.sharing", engine.Sharing.ToString()), new("kvcuda.context", engine.MaxContext))]), description: "The engine, as labels.");
        stepSeconds = Histogram(meter, "kvcuda.step.duration", "s", "Time of a step.");
        stepRows = Histogram(meter, "kvcuda.step.rows", "{row}", "Tokens that a step computes, of prompts and answers.");
        tokenSeconds = Histogram(meter, "kvcuda.inter_token_latency", "s", "Time between two tokens of an answer.");
        engine.StepCompleted += Stepped;
    }

    static Histogram<double> Histogram(Meter meter, string name, string unit, string description) => meter.CreateHistogram(name, unit, description, tags: null,
        new InstrumentAdvice<double>
        {
            HistogramBucketBoundaries = unit == "s"
                ? [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
                : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
        });

    void Stepped(in EngineStep step)
    {
        if (disposed)
        {
            return;
        }
        if (stepSeconds!.Enabled)
        {
            stepSeconds.Record(step.Duration.TotalSeconds, model);
        }
        if (stepRows!.Enabled)
        {
            stepRows.Record(step.Rows, model);
        }
        if (tokenSeconds!.Enabled)
        {
            foreach (long gap in step.Gaps)
            {
                tokenSeconds.Record((double)gap / System.Diagnostics.Stopwatch.Frequency, model);
            }
        }
    }

    /// <summary>Nothing is observed any more.</summary>
    public void Dispose()
    {
        engine.StepCompleted -= Stepped;
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
