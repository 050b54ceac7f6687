// Looks at the engine now and then: often while somebody watches, seldom for the alerts.
using KvCuda.Engine;
using Microsoft.Extensions.Logging;

namespace KvCuda.Server;

/// <summary>
/// Samples the engine: once a second while there are viewers, every five seconds otherwise where there are alerts to raise, and never where neither is.
/// </summary>
sealed partial class LiveMonitor(KvServerOptions options, ModelSource model, PrometheusText metrics, ILogger logger) : IAsyncDisposable
{
    static readonly TimeSpan often = TimeSpan.FromSeconds(1), seldom = TimeSpan.FromSeconds(5);

    readonly CancellationTokenSource ended = new();
    readonly SemaphoreSlim looked = new(0, 1);
    readonly Lock gate = new();
    Task? loop;
    int viewers;

    public LiveFigures Figures { get; } = new();

    public AlertMonitor Alerts { get; } = new(options.Alerts);

    public int Viewers => Volatile.Read(ref viewers);

    /// <summary>Begins to look for alerts, where there are rules.</summary>
    public void Start()
    {
        if (options.Alerts.Count > 0)
        {
            Loop();
        }
    }

    /// <summary>Somebody watches, until this is disposed.</summary>
    public IDisposable Watch()
    {
        Interlocked.Increment(ref viewers);
        Loop();
        if (looked.CurrentCount == 0)
        {
            try
            {
                looked.Release();
            }
            catch (SemaphoreFullException)
            {
                // another viewer came at the same moment
            }
        }
        return new Viewer(this);
    }

    sealed class Viewer(LiveMonitor monitor) : IDisposable
    {
        int gone;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref gone, 1) == 0)
            {
                Interlocked.Decrement(ref monitor.viewers);
            }
        }
    }

    void Loop()
    {
        lock (gate)
        {
            loop = loop is { IsCompleted: false } ? loop : Task.Run(RunAsync);
        }
    }

    async Task RunAsync()
    {
        while (!ended.IsCancellationRequested && (Viewers > 0 || options.Alerts.Count > 0))
        {
            try
            {
                await LookAsync().ConfigureAwait(false);
                await looked.WaitAsync(Viewers > 0 ? often : seldom, ended.Token).ConfigureAwait(false);
            }
            catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (Exception error) when (error is ApiException or KvCudaException)
            {
                await Task.Delay(often, ended.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // it is loading, or has failed
            }
        }
    }

    async Task LookAsync()
    {
        KvStatus status = await model.Get().Engine.GetKvStatusAsync().WaitAsync(ended.Token).ConfigureAwait(false);
        double now = Environment.TickCount64 / 1000.0;
        List<KvAlert> changes;
        lock (Figures)
        {
            Figures.Add(new(now, status, metrics.Sums("gen_ai_server_time_to_first_token_seconds"), metrics.Sums("kvcuda_inter_token_latency_seconds")));
            changes = Alerts.Take(TimeSpan.FromSeconds(now), Figures.Figure);
        }
        foreach (KvAlert change in changes)
        {
            LogAlert(change.Rule.Name, change.Raised ? "raised" : "over", change.Value);
            options.OnAlert?.Invoke(change);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await ended.CancelAsync().ConfigureAwait(false);
        await (loop ?? Task.CompletedTask).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        ended.Dispose();
        looked.Dispose();
    }

    [LoggerMessage(3, LogLevel.Warning, "Alert {Name} {Change}: {Value}.")]
    partial void LogAlert(string name, string change, double value);
}
