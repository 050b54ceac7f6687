using System.Collections.Concurrent;
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
    readonly ConcurrentQueue<Request> arrivals = new();
    readonly SemaphoreSlim wake = new(0);
    readonly TimeProvider time;
    readonly long loaded;
    readonly Thread? thread; // null: whoever made the engine calls Turn
    readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Sampler sampler;
    readonly string format; // whatever else the stored bits depend on: part of every cache key
    readonly TextEndings endings;
    readonly TaskCompletionSource freed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly EngineMeter meter = new();
    int disposing;
    volatile bool stopping;
    volatile Exception? broken;

    /// <param name="model">loaded for <paramref name="options"/></param>
    /// <param name="tokenizer">null: token ids only</param>
    /// <param name="options">how it was set up</param>
    /// <param name="ownThread">false: no thread runs it; the caller's calls of <see cref="Turn"/> do, all from one thread</param>
    internal KvEngine(LoadedModel model, Tokenizer? tokenizer, KvEngineOptions options, bool ownThread = true)
    {
        this.model = model;
        model.Store.PinnedShare = options.PinnedShare;
        time = options.TimeProvider;
        loaded = time.GetTimestamp();
        Tokenizer = tokenizer;
        endings = TextEndings.Of(model.Folder, tokenizer);
        admission = new(model);
        scheduler = new(model, admission);
        format = $"{model.Sharing}|{model.KvType.Name()}|{options.Numerics}" + (options.Weights == "stored" ? "" : $"|{options.Weights}");
        sampler = new(model.Backend, model.Memory.Batch.MaxWanted, model.Config.Vocabulary);
        thread = ownThread ? new Thread(Run) { IsBackground = true, Name = "kvcuda-engine" } : null;
        thread?.Start();
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
    public Exception? Failure => broken;

    /// <summary>Is told of every step, on the engine's thread.</summary>
    public event EngineStepObserver? StepCompleted;

    internal LoadedModel Model => model;

    internal Scheduler Scheduler => scheduler;

    internal Admission Admission => admission;

    /// <summary>Told every request as it is handed over; for tests.</summary>
    internal Action<Request>? Arriving { get; set; }

    /// <summary>Called in every step between the forward pass and the acceptance of its tokens; for tests.</summary>
    internal Action? BeforeAccept { get; set; }

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
        options ??= new();
        options.Validate();
        admission.CheckPrompt(promptTokens, options.MaxTokens, StreamingOf(options));
        return Stream(promptTokens, options, default, beforeRelease: null, cancellation);
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

    internal async IAsyncEnumerable<GeneratedPiece> Stream(IReadOnlyList<int> prompt, GenerateOptions options, SessionId session,
        Action<KvSequence>? beforeRelease, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using CancellationTokenSource source = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        KvStreaming? streaming = StreamingOf(options);
        if (endings.StopTexts.Count > 0 && !options.IgnoreEos)
        {
            options = options with { Stop = [.. options.Stop, .. endings.StopTexts] };
        }
        Request request = new(prompt, options, Decoder(prompt), endings.Ids,
            admission.LongestLength(prompt.Count, options.MaxTokens, streaming),
            session.Own, ScopeOf(options, session), source.Token) { BeforeRelease = beforeRelease, Streaming = streaming, StopTokens = StopTokens(options) };
        Arriving?.Invoke(request);
        arrivals.Enqueue(request);
        wake.Release();
        if (ended.Task.IsCompleted)
        {
            FailArrivals();
        }
        try
        {
            await foreach (GeneratedPiece piece in request.Pieces.ReadAllAsync(cancellation).ConfigureAwait(false))
            {
                yield return piece;
            }
        }
        finally
        {
            // Breaking off the enumeration ends the request at its next step; ending normally, it is gone already.
            await source.CancelAsync().ConfigureAwait(false);
            wake.Release();
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

    void Run()
    {
        try
        {
            while (!stopping)
            {
                if (!Turn())
                {
                    // What expires is forgotten in time even if nobody calls.
                    wake.Wait((int)Math.Clamp(model.Store.NextExpiry - model.Store.Now, 0, int.MaxValue));
                }
            }
        }
#pragma warning disable CA1031 // the engine's thread must never take the process down: every caller is told instead
        catch (Exception error)
#pragma warning restore CA1031
        {
            broken = error is KvCudaException ? error : new DeviceException(
                $"The engine stopped after an unexpected error and takes no further requests: {error.Message}", error);
        }
        scheduler.FailAll(broken ?? new ObjectDisposedException(nameof(KvEngine)));
        ended.SetResult();
        FailArrivals();
        TakeErrands();
    }

    /// <summary>Once around: the time, errands, arrivals, and a step if there is anything to do.</summary>
    /// <returns>whether a step was run</returns>
    internal bool Turn()
    {
        model.Store.Now = (long)time.GetElapsedTime(loaded).TotalMilliseconds;
        TakeErrands();
        TakeArrivals();
        return Step();
    }

    void TakeArrivals()
    {
        while (arrivals.TryDequeue(out Request? request))
        {
            scheduler.Add(request);
        }
    }

    // After the thread's end, whoever comes too late is told at once.
    void FailArrivals()
    {
        while (arrivals.TryDequeue(out Request? request))
        {
            request.Fail(broken ?? new ObjectDisposedException(nameof(KvEngine)));
        }
    }

    // The life of a token: choose what runs, run it, choose the next tokens, tell their owners.
    bool Step()
    {
        List<Scheduler.Scheduled> scheduled = scheduler.Next();
        if (scheduled.Count == 0)
        {
            return false;
        }
        meter.Begin();
        foreach (Scheduler.Scheduled rows in scheduled)
        {
            meter.Rows(rows.Request, model.Pass.RowsOf(rows.Item));
        }
        Tensor logits = model.Pass.Run();
        sampler.Clear();
        foreach (Scheduler.Scheduled rows in scheduled)
        {
            if (rows.Wanted > 0)
            {
                rows.Request.AddRow(sampler);
            }
        }
        ReadOnlySpan<int> next = sampler.Choose(logits);
        BeforeAccept?.Invoke();
        foreach (Scheduler.Scheduled rows in scheduled)
        {
            Accept(rows, next);
        }
        meter.End(StepCompleted);
        return true;
    }

    void Accept(in Scheduler.Scheduled rows, ReadOnlySpan<int> next)
    {
        Request request = rows.Request;
        model.Pass.Accept(rows.Item);
        if (rows.Wanted == 0)
        {
            return;
        }
        meter.Chosen(request);
        int row = model.Pass.RowOf(rows.Item);
        if (next[row] == SampleRow.NoToken)
        {
            scheduler.Remove(request);
            request.Fail(new ModelFormatException(SampleRow.NoTokenMessage));
            return;
        }
        if (request.Accept(next[row], sampler.LogprobOf(row)))
        {
            long held = model.Store.BytesHeld(request.Kv!);
            request.BeforeRelease?.Invoke(request.Kv!);
            scheduler.Remove(request);
            meter.Finish(request.EndedWith);
            request.Complete(held, model.Layout.BytesPerToken);
        }
    }

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
            stopping = true;
            wake.Release();
            if (thread is null)
            {
                Run();
            }
            await ended.Task.ConfigureAwait(false);
            model.Dispose();
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
