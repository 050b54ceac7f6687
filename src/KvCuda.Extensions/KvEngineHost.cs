using System.Diagnostics;
using System.Diagnostics.Metrics;
using KvCuda.Engine;
using KvCuda.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCuda.Extensions;

/// <summary>Where a service's model is between not being there and being gone.</summary>
public enum KvEngineState
{
    /// <summary>Nobody has asked for it yet.</summary>
    NotLoaded,

    /// <summary>It is being loaded, warmed up, or its system prompts are being computed.</summary>
    Loading,

    /// <summary>It answers.</summary>
    Ready,

    /// <summary>It could not be loaded (the next one who asks tries again), or its device failed (every request ends with that error).</summary>
    Failed,

    /// <summary>It is gone, with the application.</summary>
    Disposed,
}

/// <summary>
/// Loads a service's engine once, for whoever asks first, and owns it: its system prompts, its metrics, its end. Registered by
/// <c>AddKvCuda</c>. Safe for concurrent use.
/// </summary>
public sealed partial class KvEngineHost : IAsyncDisposable, IDisposable
{
    readonly string name;
    readonly IOptionsMonitor<KvCudaOptions> options;
    readonly IMeterFactory? meters;
    readonly ILogger logger;
    readonly Lock gate = new();
    readonly CancellationTokenSource lifetime = new();
    readonly List<PrecomputedPrompt> prompts = [];
    Task<Loaded>? loading;
    Task? disposal;
    KvStoreMetrics? metrics;
    LoadProgress progress;
    int logged = -1;

    internal sealed record Loaded(KvEngine Engine, ChatFormat? Format);

    internal KvEngineHost(string name, IOptionsMonitor<KvCudaOptions> options, IMeterFactory? meters, ILogger logger)
    {
        (this.name, this.options, this.meters, this.logger) = (name, options, meters, logger);
    }

    /// <summary>Where it is.</summary>
    public KvEngineState State
    {
        get
        {
            lock (gate)
            {
                return disposal is not null ? KvEngineState.Disposed
                    : loading is null ? KvEngineState.NotLoaded
                    : !loading.IsCompleted ? KvEngineState.Loading
                    : Failure is null ? KvEngineState.Ready : KvEngineState.Failed;
            }
        }
    }

    /// <summary>Why it could not be loaded, or what ended it; null otherwise.</summary>
    public Exception? Failure
    {
        get
        {
            lock (gate)
            {
                return loading is { IsCompletedSuccessfully: true } ? loading.Result.Engine.Failure
                    : loading?.Exception?.InnerException ?? (loading is { IsCanceled: true } ? new OperationCanceledException() : null);
            }
        }
    }

    /// <summary>How far the loading has come.</summary>
    public LoadProgress Progress
    {
        get
        {
            lock (gate)
            {
                return progress;
            }
        }
    }

    /// <summary>What the model is called: the option's name for it, or its folder's.</summary>
    public string ModelId => Settings.Chat.ModelId ?? KvChatClient.NameOf(Settings.ModelPath);

    internal KvCudaOptions Settings => options.Get(name);

    /// <summary>The engine, loaded if it is not yet.</summary>
    /// <param name="cancellation">ends the waiting, not the loading</param>
    /// <exception cref="OptionsValidationException">The options are wrong; the message names everything.</exception>
    /// <exception cref="KvCudaException">The model could not be loaded.</exception>
    /// <exception cref="ObjectDisposedException">The application is ending.</exception>
    public async Task<KvEngine> GetEngineAsync(CancellationToken cancellation = default) =>
        (await LoadAsync(cancellation).ConfigureAwait(false)).Engine;

    internal Task<Loaded> LoadAsync(CancellationToken cancellation)
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(disposal is not null, this);
            if (loading is null || loading.IsFaulted || loading.IsCanceled)
            {
                logged = -1;
                loading = Task.Run(LoadOnceAsync, CancellationToken.None);
            }
            return loading.WaitAsync(cancellation);
        }
    }

    // The engine and how it converses, for a chat client.
    internal async ValueTask<(KvEngine, ChatFormat)> ForChatAsync(CancellationToken cancellation)
    {
        Loaded loaded = await LoadAsync(cancellation).ConfigureAwait(false);
        return (loaded.Engine, loaded.Format ?? KvChatClient.FormatOf(loaded.Engine, Settings.Chat));
    }

    async Task<Loaded> LoadOnceAsync()
    {
        long start = Stopwatch.GetTimestamp();
        KvEngine? engine = null;
        try
        {
            KvCudaOptions settings = Settings;
            LogLoading(ModelId, Path.GetFullPath(settings.ModelPath));
            engine = await KvEngine.LoadAsync(settings.ModelPath, settings.Engine, new Listener(this), lifetime.Token).ConfigureAwait(false);
            ChatFormat? format = FormatOf(engine, settings);
            metrics = new(engine, meters, ModelId);
            if (settings.Warmup)
            {
                Report(new("warm-up", 0));
                await WarmUpAsync(engine).ConfigureAwait(false);
            }
            await PrecomputeAsync(engine, format, settings).ConfigureAwait(false);
            Report(new("ready", 1));
            LogReady(ModelId, engine.Device, Stopwatch.GetElapsedTime(start).TotalMilliseconds, engine.MaxContext);
            return new(engine, format);
        }
        catch (Exception error)
        {
            metrics?.Dispose();
            prompts.Clear();
            if (engine is not null)
            {
                await engine.DisposeAsync().ConfigureAwait(false);
            }
            if (!lifetime.IsCancellationRequested)
            {
                LogFailed(error, Path.GetFullPath(Settings.ModelPath));
            }
            throw;
        }
    }

    // Where there is none, requests to the chat client say so; whoever uses the engine itself needs none.
    ChatFormat? FormatOf(KvEngine engine, KvCudaOptions settings)
    {
        if (engine.Tokenizer is null)
        {
            return null;
        }
        ChatFormat? format = settings.Chat.Format
            ?? (settings.ChatTemplate is { } file ? new(engine.Tokenizer, Text.ChatTemplate.LoadFile(file, settings.ModelPath)) : engine.LoadChatFormat());
        if (format is null && settings.PlainContinuation)
        {
            LogContinuation(ModelId);
            return ChatFormat.Continuation(engine.Tokenizer);
        }
        return format;
    }

    // Everything that happens only once happens for tokens that nobody will look for.
    async Task WarmUpAsync(KvEngine engine)
    {
        GenerateOptions few = new() { MaxTokens = 4, IgnoreEos = true, Cache = CacheScope.Session };
        await foreach (GeneratedPiece _ in engine.GenerateAsync(new int[Math.Min(8, engine.MaxContext / 2)], few, lifetime.Token).ConfigureAwait(false)) { }
    }

    async Task PrecomputeAsync(KvEngine engine, ChatFormat? format, KvCudaOptions settings)
    {
        for (int i = 0; i < settings.SystemPrompts.Count; i++)
        {
            Report(new("system prompts", (double)i / settings.SystemPrompts.Count));
            if (format is null)
            {
                throw new InvalidRequestException($"There are system prompts to compute, but {settings.ModelPath} has no chat template. "
                    + "Name one (ChatTemplate), or choose PlainContinuation.");
            }
            IReadOnlyList<int> tokens = format.EncodeSystem(settings.SystemPrompts[i], new() { Variables = settings.Chat.TemplateVariables });
            PrecomputedPrompt prompt = await engine.PrecomputeAsync(tokens, settings.Chat.Generate.Salt, lifetime.Token).ConfigureAwait(false);
            prompts.Add(prompt);
            LogPrecomputed(i + 1, tokens.Count, prompt.PinnedTokens);
        }
    }

    // Not Progress<T>: that tells in any order, on any thread.
    sealed class Listener(KvEngineHost host) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => host.Report(value);
    }

    void Report(LoadProgress now)
    {
        bool tell;
        lock (gate)
        {
            // A line per stage, and per quarter of one.
            int quarter = (int)(now.Share * 4);
            tell = now.Stage != "ready" && (now.Stage != progress.Stage || quarter > logged);
            logged = quarter;
            progress = now;
        }
        if (tell)
        {
            LogProgress(ModelId, now.Stage, now.Share);
        }
    }

    /// <summary>Ends the loading, or the engine with everything that runs on it.</summary>
    public ValueTask DisposeAsync()
    {
        lock (gate)
        {
            disposal ??= Task.Run(EndAsync);
            return new(disposal);
        }
    }

    async Task EndAsync()
    {
        await lifetime.CancelAsync().ConfigureAwait(false);
        Task<Loaded>? last;
        lock (gate)
        {
            last = loading;
        }
        if (last is not null)
        {
            await ((Task)last).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding);
            metrics?.Dispose();
            if (last.IsCompletedSuccessfully)
            {
                await last.Result.Engine.DisposeAsync().ConfigureAwait(false); // with its pinned prompts
            }
        }
        lifetime.Dispose();
    }

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    [LoggerMessage(1, LogLevel.Information, "Loading {Model} from {Folder}.")]
    partial void LogLoading(string model, string folder);

    [LoggerMessage(2, LogLevel.Information, "Loading {Model}: {Stage} {Share:P0}.")]
    partial void LogProgress(string model, string stage, double share);

    [LoggerMessage(3, LogLevel.Information, "{Model} is ready on {Device} after {Milliseconds:F0} ms; its context is {Context} tokens.")]
    partial void LogReady(string model, string device, double milliseconds, int context);

    [LoggerMessage(4, LogLevel.Information, "System prompt {Number}: of {Tokens} tokens {Pinned} stay in the cache, in whole pages.")]
    partial void LogPrecomputed(int number, int tokens, int pinned);

    [LoggerMessage(5, LogLevel.Warning, "{Model} has no chat template: messages are one running text that it goes on with (PlainContinuation).")]
    partial void LogContinuation(string model);

    [LoggerMessage(6, LogLevel.Error, "The model in {Folder} could not be loaded.")]
    partial void LogFailed(Exception error, string folder);
}
