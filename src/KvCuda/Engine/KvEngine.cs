using System.Runtime.CompilerServices;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Text;

namespace KvCuda.Engine;

/// <summary>
/// A loaded model that generates text for many callers at once. One thread of its own runs step after step; every step
/// is one ragged batch of whatever is to be done. All members are safe for concurrent use.
/// </summary>
/// <example>
/// <code>
/// await using var engine = await KvEngine.LoadAsync("weights/demo");
/// await foreach (var piece in engine.GenerateAsync("Call me", new() { MaxTokens = 64 }))
///     Console.Write(piece.Text);
/// </code>
/// </example>
public sealed partial class KvEngine : IAsyncDisposable, IDisposable
{
    readonly LoadedModel model;
    readonly Scheduler scheduler;
    readonly Admission admission;
    readonly EngineLoop loop;
    readonly string bitsKey; // part of every cache key
    readonly TextEndings endings;
    readonly TaskCompletionSource freed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    int disposing;

    /// <param name="model">loaded for <paramref name="options"/></param>
    /// <param name="tokenizer">null: token ids only</param>
    /// <param name="options">how it was set up</param>
    /// <param name="ownThread">false: no thread runs it; the caller's calls of <see cref="Turn"/> do, all from one thread</param>
    internal KvEngine(LoadedModel model, Tokenizer? tokenizer, KvEngineOptions options, bool ownThread = true)
    {
        this.model = model;
        model.Store.PinnedShare = options.PinnedShare;
        Tokenizer = tokenizer;
        endings = TextEndings.Of(model.Folder, tokenizer);
        admission = new(model);
        scheduler = new(model, admission);
        bitsKey = BitsKey.Of(model, options).ToString();
        // A tokenizer of the caller's own gives other ids than the folder's.
        identity = new(model.Identity, options.Tokenizer is { } own ? $"custom {own.GetType().FullName}" : model.TokenizerIdentity,
            model.Sharing.ToString(), bitsKey);
        loop = new(model, scheduler, options, ownThread);
        loop.Start();
    }

    /// <summary>Text to tokens and back; null if the model folder has no tokenizer.json: such a model takes token ids.</summary>
    public Tokenizer? Tokenizer { get; }

    /// <summary>
    /// The ids that end a text: all that the tokenizer, generation_config.json and config.json name. May be empty; then only
    /// <see cref="GenerateOptions.MaxTokens"/> and stop texts end one.
    /// </summary>
    public IReadOnlyList<int> EndOfSequenceIds => endings.Ids;

    /// <summary>What runs the model: "cpu (AVX-512, 2 threads)".</summary>
    public string Device => model.Backend.Name;

    /// <summary>Which layer reads whose keys and values.</summary>
    public LayerSharing Sharing => model.Sharing;

    /// <summary>Longest sequence in tokens.</summary>
    public int MaxContext => model.MaxContext;

    /// <summary>Bytes of keys and values per token, over all owning layers.</summary>
    public long KvBytesPerToken => model.Layout.BytesPerToken;

    /// <summary>
    /// The error that ended the engine (a device that failed, usually); null while it works. It takes no further requests:
    /// every one ends with this error. Dispose it and load another.
    /// </summary>
    public Exception? Failure => loop.Failure;

    /// <summary>Is told of every step, on the engine's thread.</summary>
    public event EngineStepObserver? StepCompleted
    {
        add => loop.StepCompleted += value;
        remove => loop.StepCompleted -= value;
    }

    internal LoadedModel Model => model;

    internal Scheduler Scheduler => scheduler;

    internal Admission Admission => admission;

    /// <summary>Told every request as it is handed over; for tests.</summary>
    internal Action<Request>? Arriving { get; set; }

    /// <summary>Called in every step between the forward pass and the acceptance of its tokens; for tests.</summary>
    internal Action? BeforeAccept
    {
        get => loop.BeforeAccept;
        set => loop.BeforeAccept = value;
    }

    /// <inheritdoc cref="EngineLoop.Turn"/>
    internal bool Turn() => loop.Turn();

    /// <summary>Loads a Hugging Face model folder: config.json, safetensors and, if there, tokenizer.json.</summary>
    /// <param name="modelFolder">the folder</param>
    /// <param name="options">how to set the engine up</param>
    /// <param name="progress">told what is being done, with shares from 0 to 1</param>
    /// <param name="cancellation">ends the loading</param>
    /// <exception cref="ModelFormatException">A file is missing, malformed or contradicts another.</exception>
    /// <exception cref="UnsupportedModelException">The model is well formed but not supported.</exception>
    /// <exception cref="InvalidRequestException">An option is out of range.</exception>
    /// <exception cref="KvBudgetException">The budget cannot hold a single sequence.</exception>
    /// <exception cref="DeviceException">The device asked for is not there or failed.</exception>
    public static Task<KvEngine> LoadAsync(string modelFolder, KvEngineOptions? options = null,
        IProgress<LoadProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(modelFolder);
        options ??= new();
        options.Validate();
        return Task.Run(() =>
        {
            progress?.Report(new("tokenizer", 0));
            Tokenizer? tokenizer = options.Tokenizer
                ?? (File.Exists(Path.Combine(modelFolder, "tokenizer.json")) ? Tokenizer.Load(modelFolder) : null);
            LoadedModel model = LoadedModel.Load(modelFolder, options,
                (stage, share) => progress?.Report(new(stage, share)), cancellation);
            return new KvEngine(model, tokenizer, options) { ModelFolder = modelFolder };
        }, cancellation);
    }

    /// <summary>Generates text after a prompt. Enumerating is streaming; breaking off is cancelling.</summary>
    /// <exception cref="InvalidRequestException">An option is out of range, the prompt is empty, or longer than the context and does not slide.</exception>
    /// <exception cref="KvBudgetException">The request at its longest can never fit into the budget.</exception>
    /// <exception cref="QueueFullException">As many requests wait as may.</exception>
    public IAsyncEnumerable<GeneratedPiece> GenerateAsync(string prompt, GenerateOptions? options = null,
        CancellationToken cancellation = default)
    {
        return GenerateAsync(Encode(prompt), options, cancellation);
    }

    /// <summary>Generates tokens (and their text, if there is a tokenizer) after a prompt of token ids.</summary>
    /// <inheritdoc cref="GenerateAsync(string, GenerateOptions?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedPiece> GenerateAsync(IReadOnlyList<int> promptTokens, GenerateOptions? options = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(promptTokens);
        // Copied first, then checked: what the caller does with his lists afterwards is no concern of the request.
        int[] prompt = [.. promptTokens];
        options = admission.Check(options);
        admission.CheckPrompt(prompt, options.MaxTokens, StreamingOf(options));
        return Stream(prompt, options, default, beforeRelease: null, cancellation);
    }

    /// <summary>
    /// Runs a prompt and a few tokens that nobody sees, so that the first request finds code compiled, weights in memory and kernels
    /// loaded. Nothing of it stays in the cache. Beside other requests it is a request like them.
    /// </summary>
    public async Task WarmupAsync(CancellationToken cancellation = default)
    {
        int[] prompt = new int[Math.Max(1, Math.Min(model.Pass.MaxRows, model.MaxContext - 9))];
        foreach (float temperature in (float[])[0, 1])
        {
            GenerateOptions options = new()
            {
                MaxTokens = Math.Min(8, model.MaxContext - prompt.Length), IgnoreEos = true, Cache = CacheScope.Session, Temperature = temperature, TopK = 8,
                Seed = 1,
            };
            // A budget that holds no such request holds a shorter one, or has nothing to warm up.
            if (!model.Store.FitsEmpty(prompt.Length + options.MaxTokens, null))
            {
                return;
            }
            await foreach (GeneratedPiece _ in Stream(prompt, options, default, null, cancellation).ConfigureAwait(false)) { }
        }
    }

    /// <summary>Generates to the end and returns the result: the whole text, tokens, figures.</summary>
    /// <inheritdoc cref="GenerateAsync(string, GenerateOptions?, CancellationToken)"/>
    public async Task<GenerationResult> CompleteAsync(string prompt, GenerateOptions? options = null,
        CancellationToken cancellation = default)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in GenerateAsync(prompt, options, cancellation).ConfigureAwait(false))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    internal async IAsyncEnumerable<GeneratedPiece> Stream(int[] prompt, GenerateOptions options, SessionId session,
        Action<KvSequence>? beforeRelease, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using CancellationTokenSource source = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        KvStreaming? streaming = StreamingOf(options);
        if (endings.StopTexts.Count > 0 && !options.IgnoreEos)
        {
            options = options with { Stop = [.. options.Stop, .. endings.StopTexts] };
        }
        Request request = new(prompt, options, Decoder(prompt), endings.Ids,
            admission.LongestLength(prompt.Length, options.MaxTokens, streaming),
            session.Own, ScopeOf(options, session), source.Token) { BeforeRelease = beforeRelease, Streaming = streaming, StopTokens = StopTokens(options) };
        Arriving?.Invoke(request);
        loop.Submit(request);
        try
        {
            await foreach (GeneratedPiece piece in request.Pieces.ReadAllAsync(cancellation).ConfigureAwait(false))
            {
                if (request.HasRead())
                {
                    loop.Wake();
                }
                yield return piece;
            }
        }
        finally
        {
            // Breaking off the enumeration ends the request at its next step; ending normally, it is gone already.
            await source.CancelAsync().ConfigureAwait(false);
        }
        cancellation.ThrowIfCancellationRequested();
    }

    // Decoders treat a text's first token in a way of their own (a space that is not there): an answer goes on where the prompt ends.
    StreamingDecoder? Decoder(IReadOnlyList<int> prompt)
    {
        const int tail = 32; // tokens; of special ones no text comes, and nobody puts so many in a row
        StreamingDecoder? decoder = Tokenizer?.CreateStreamingDecoder();
        for (int i = Math.Max(0, prompt.Count - tail); decoder is not null && i < prompt.Count; i++)
        {
            _ = decoder.Append(prompt[i]);
        }
        return decoder;
    }

    // The text of a special token never comes out of a decoder, so a stop text that is one is a token to stop at.
    HashSet<int> StopTokens(GenerateOptions options) =>
        [.. options.StopTokens, .. Tokenizer is null ? [] : options.Stop.Select(Tokenizer.SpecialTokenToId).OfType<int>()];

    internal KvStreaming? StreamingOf(GenerateOptions options) =>
        options.WhenFull == ContextFull.Slide ? admission.StreamingOf(options.Sinks, options.Window) : null;

    /// <summary>
    /// Ends running requests with <see cref="ObjectDisposedException"/> and frees everything. Whoever else disposes it meanwhile
    /// waits for the same end.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref disposing, 1) == 0)
        {
            await Shut().ConfigureAwait(false);
        }
        await freed.Task.ConfigureAwait(false);
    }

    async Task Shut()
    {
        try
        {
            await loop.StopAsync().ConfigureAwait(false);
            try
            {
                loop.Dispose();
            }
            finally
            {
                model.Dispose();
            }
            freed.SetResult();
        }
#pragma warning disable CA1031 // told to everyone who disposes
        catch (Exception error)
#pragma warning restore CA1031
        {
            freed.SetException(error);
        }
    }

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();
}

/// <summary>How far loading a model has come.</summary>
/// <param name="Stage">what is being done: tokenizer, weights, host tier, ready</param>
/// <param name="Share">0 to 1 of that stage</param>
public readonly record struct LoadProgress(string Stage, double Share);
