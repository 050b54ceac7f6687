using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Text;
using Microsoft.AspNetCore.Http;

namespace KvCuda.Server;

/// <summary>The model, when it is there; until then, and after, what a caller is told.</summary>
sealed class ModelSource(KvEngineHost host)
{
    readonly long created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    Task<KvEngineHost.Loaded>? loading;
    volatile bool stopping, draining;

    /// <summary>What it is called.</summary>
    public string Id { get; } = host.ModelId;

    /// <summary>When the server began, in Unix seconds.</summary>
    public long Created => created;

    /// <summary>Nothing new is begun.</summary>
    public bool IsStopping => stopping;

    /// <summary>It is being loaded, or will be.</summary>
    public bool IsLoading => loading is not { IsCompleted: true };

    /// <summary>It says that it is not ready, and takes requests all the same until <see cref="Stop"/>.</summary>
    public bool IsDraining => draining;

    public void Drain() => draining = true;

    public void Stop() => stopping = draining = true;

    /// <summary>Loads it, once.</summary>
    /// <returns>ends when it answers</returns>
    public Task<KvEngineHost.Loaded> LoadAsync() => loading ??= host.LoadAsync(CancellationToken.None);

    /// <summary>The engine and how it converses (null: it has no chat template).</summary>
    /// <exception cref="ApiException">503: it is being loaded, could not be, or has failed.</exception>
    public (KvEngine Engine, ChatFormat? Format) Get()
    {
        if (loading is not { IsCompleted: true })
        {
            throw Unavailable($"The model is being loaded: {host.Progress.Stage ?? "beginning"} {host.Progress.Share:P0}.", "loading");
        }
        if (!loading.IsCompletedSuccessfully || loading.Result.Engine.Failure is not null)
        {
            throw new ApiException(StatusCodes.Status503ServiceUnavailable, "server_error", "The engine has failed; the server's log says how. It must be started anew.", code: "failed");
        }
        return (loading.Result.Engine, loading.Result.Format);
    }

    public static ApiException Unavailable(string message, string code) =>
        new(StatusCodes.Status503ServiceUnavailable, "server_error", message, code: code, retryAfterSeconds: 5);
}
