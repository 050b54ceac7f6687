using KvCuda.Engine;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace KvCuda.Extensions;

/// <summary>
/// Whether a model answers. Healthy: it does, or it will be loaded by its first request. Degraded: it does, but as many requests wait for room
/// as <see cref="KvCudaOptions.SaturatedWaiting"/> says, or it cannot chat for want of a chat template. Unhealthy (or what the registration says instead): it is being loaded, could not
/// be, its device failed, or its engine gave no sign of life for five seconds.
/// </summary>
/// <example>
/// <code>
/// builder.Services.AddHealthChecks().AddCheck&lt;KvCudaHealthCheck&gt;("model");          // of AddKvCuda()
/// builder.Services.AddHealthChecks().Add(KvCudaHealthCheck.Registration("small"));   // of AddKvCuda("small")
/// </code>
/// </example>
public sealed class KvCudaHealthCheck : IHealthCheck
{
    static readonly TimeSpan patience = TimeSpan.FromSeconds(5);

    readonly KvEngineHost host;

    /// <param name="host">whose engine</param>
    public KvCudaHealthCheck(KvEngineHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        this.host = host;
    }

    /// <summary>The check of a named model.</summary>
    /// <param name="name">as it was added</param>
    /// <param name="tags">those of the check</param>
    public static HealthCheckRegistration Registration(string name, IEnumerable<string>? tags = null) =>
        new(name, provider => provider.GetRequiredKeyedService<KvCudaHealthCheck>(name), failureStatus: null, tags);

    /// <inheritdoc/>
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(context);
        HealthStatus failed = context.Registration.FailureStatus;
        switch (host.State)
        {
            case KvEngineState.NotLoaded:
                return HealthCheckResult.Healthy("The model will be loaded by its first request.");
            case KvEngineState.Loading:
                LoadProgress progress = host.Progress;
                return new(failed, $"The model is being loaded: {progress.Stage ?? "beginning"} {progress.Share:P0}.",
                    data: new Dictionary<string, object> { ["stage"] = progress.Stage ?? "", ["share"] = progress.Share });
            case KvEngineState.Disposed:
                return new(failed, "The application is ending.");
            case KvEngineState.Failed:
                return Failed(host.Failure);
            default:
                break;
        }
        try
        {
            KvEngineHost.Loaded loaded = await host.LoadAsync(cancellationToken).ConfigureAwait(false);
            KvEngine engine = loaded.Engine;
            return Judge(loaded, await engine.GetKvStatusAsync().WaitAsync(patience, cancellationToken).ConfigureAwait(false));
        }
        catch (TimeoutException)
        {
            return new(failed, $"The engine has given no sign of life for {patience.TotalSeconds:F0} s: a step takes longer than that, or hangs.");
        }
        catch (Exception error) when (error is KvCudaException or ObjectDisposedException)
        {
            return Failed(error);
        }

        HealthCheckResult Failed(Exception? error) => new(failed, error?.Message, error);
    }

    HealthCheckResult Judge(KvEngineHost.Loaded loaded, KvStatus status)
    {
        KvEngine engine = loaded.Engine;
        KvCudaOptions options = host.Settings;
        Dictionary<string, object> data = new()
        {
            ["model"] = host.ModelId, ["device"] = engine.Device, ["running"] = status.RunningRequests, ["waiting"] = status.WaitingRequests,
            ["preemptions"] = status.Preemptions, ["free_bytes"] = status.FreeBytes, ["active_bytes"] = status.ActiveBytes,
            ["cached_bytes"] = status.CachedBytes, ["pinned_bytes"] = status.PinnedBytes,
            ["saturated"] = status.WaitingRequests >= (options.SaturatedWaiting ?? options.Engine.MaxSequences),
            ["chat_format"] = loaded.Format is null ? "none" : loaded.Format.IsContinuation ? "continuation" : "template",
        };
        int saturated = options.SaturatedWaiting ?? options.Engine.MaxSequences;
        return status.WaitingRequests >= saturated
            ? HealthCheckResult.Degraded($"{status.WaitingRequests} requests wait for room, {status.RunningRequests} run.", data: data)
            : loaded.Format is null
            ? HealthCheckResult.Degraded($"{host.ModelId} answers on {engine.Device}, but not in chats: its folder has no chat template. Name one "
                + "(ChatTemplate), or choose PlainContinuation.", data: data)
            : HealthCheckResult.Healthy($"{host.ModelId} answers on {engine.Device}.", data);
    }
}
