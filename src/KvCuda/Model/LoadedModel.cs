using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Model;

/// <summary>A model ready to run: its files, its weights on a backend, its store and its decoder.</summary>
internal sealed class LoadedModel : IDisposable
{
    readonly ModelWeights files; // in place in the mapped files
    readonly string folder;
    readonly Decoder decoder;
    readonly LoadOptions options;

    LoadedModel(string folder, LoadOptions options, ModelWeights files, ModelConfig config, LayerSharing sharing,
        IBackend backend, Action<string, double> report)
    {
        (this.folder, this.options, this.files, Config, Sharing, Backend) = (folder, options, files, config, sharing, backend);
        MaxContext = ContextOf(folder, config, options);

        long total = files.All.Sum(weight => weight.Tensor.Bytes), loaded = 0;
        if (options.Int8Weights && !backend.TakesInt8Weights)
        {
            throw new InvalidRequestException($"Weights were asked for as int8, but {backend.Name} takes them only as they are stored; "
                + "int8 weights need the device cpu.");
        }
        KvType = options.KvType == "auto" ? files.Type : DTypes.Parse(options.KvType);
        backend.WarmUp(options.Int8Weights ? DType.Int8 : files.Type, KvType);
        var inPlace = new List<Tensor>();
        ModelWeights weights = files.Move((role, tensor) =>
        {
            loaded += tensor.Bytes;
            report("weights", Math.Min(1, (double)loaded / total));
            if (!options.Int8Weights || !Quantiser.Takes(role, tensor))
            {
                Tensor readable = backend.Load(tensor);
                // Of an embedding, a token reads one row.
                if (readable.Address == tensor.Address && (role is not (TensorRole.Embedding or TensorRole.PositionEmbedding) || config.TiedHead))
                {
                    inPlace.Add(tensor);
                }
                return readable;
            }
            Tensor quantised = backend.Allocate(tensor.Name, DType.Int8, tensor.Rows, tensor.Columns);
            Quantiser.Quantise(quantised, tensor);
            // One after another, so that both forms of the whole model are never in memory together.
            files.LetGo(tensor);
            return quantised;
        }, untie: options.Int8Weights);
        files.FetchAhead(inPlace);
        Memory = new(backend, config, Sharing, KvType, MaxContext, options, share => report("host tier", share));
        decoder = new(backend, config, weights, Sharing, Memory.ViewOf, options.MaxRows, Memory.Batch.MaxWanted);
        Pass = new(Memory, decoder, Sharing, options.Prefill);
        if (backend.Planner(options.PreparesAlways) is { } planner)
        {
            report("device", 0);
            decoder.Prepare(planner, Memory.Batch, options.Prefill, MaxContext);
            planner.Complete();
        }
        report("ready", 1);
    }

    /// <summary>What snapshots of this model are tied to.</summary>
    public string Identity => ModelIdentity.Of(folder, files);

    /// <summary>The same of its tokenizer.</summary>
    public string TokenizerIdentity => ModelIdentity.OfTokenizer(folder);

    public ModelConfig Config { get; }

    public IBackend Backend { get; }

    public LayerSharing Sharing { get; }

    public DType KvType { get; }

    /// <summary>Where keys and values live.</summary>
    public KvMemory Memory { get; }

    /// <summary>The one step that everything runs in.</summary>
    public Pass Pass { get; }

    public KvLayout Layout => Memory.Layout;

    public KvStore.KvStore Store => Memory.Store;

    /// <summary>Longest sequence in tokens.</summary>
    public int MaxContext { get; }

    /// <summary>The folder it was loaded from.</summary>
    public string Folder => folder;

    /// <summary>Loads a model folder.</summary>
    /// <param name="folder">config.json and safetensors</param>
    /// <param name="options">what it is loaded for</param>
    /// <param name="report">told the stage and how much of it is done, 0 to 1</param>
    /// <param name="cancellation">ends the loading between two tensors</param>
    public static LoadedModel Load(string folder, LoadOptions options, Action<string, double>? report = null,
        CancellationToken cancellation = default)
    {
        ModelConfig config = ModelConfig.Load(folder);
        LayerSharing sharing = SharingOf(config, options.Sharing);
        ModelWeights? files = null;
        IBackend? backend = null;
        try
        {
            files = ModelWeights.Load(folder, config, sharing.Owns);
            backend = BackendFactory.Create(options.Device, options.Threads, options.Numerics);
            return new(folder, options, files, config, sharing, backend, (stage, share) =>
            {
                cancellation.ThrowIfCancellationRequested();
                report?.Invoke(stage, share);
            });
        }
        catch
        {
            backend?.Dispose();
            files?.Dispose();
            throw;
        }
    }

    /// <summary>The map the model was trained with ("native", or null), or the experiment that replaces it.</summary>
    public static LayerSharing SharingOf(ModelConfig config, string? experiment) => experiment is null or "native"
        ? LayerSharing.FromConfig(config.Layers, config.SharingWindow, config.SharingMap, config.ForceStrictlyEarlier,
            config.ClaShareFactor, config.SharedTailLayers, config.Windows)
        : LayerSharing.Parse(experiment, config.Layers, config.SharingWindow, config.Windows)
            .WithStrictlyEarlier(config.ForceStrictlyEarlier);

    /// <summary>How a sequence of this model slides when it is longer than sinks and window.</summary>
    /// <param name="sinks">tokens of the beginning that stay</param>
    /// <param name="window">latest tokens that stay; null: as many as the context has room for</param>
    /// <exception cref="InvalidRequestException">The model cannot slide, or not with these numbers.</exception>
    public KvStreaming StreamingOf(int sinks, int? window)
    {
        if (Config.Rope is null)
        {
            throw new InvalidRequestException(
                "This model cannot slide past its context: its positions are learned, so there is none beyond "
                + $"{Config.MaxPositions}. Let it stop there, or use a model with rotary positions.");
        }
        if (Config.HeadNorm == HeadNorm.AfterRope)
        {
            throw new InvalidRequestException(
                "This model cannot slide past its context: it normalises queries and keys after they are rotated, so that scores "
                + "depend on positions it was not trained for and not on distances alone. Let it stop there.");
        }
        int most = MaxContext - Math.Max(sinks, 0);
        if (sinks < 0 || (window ?? most) < 1 || (window ?? 1) > most)
        {
            throw new InvalidRequestException(
                $"Sliding with {sinks} sinks and a window of {(window is { } w ? w : most)} tokens was asked for; a window has at least 1 "
                + $"token, and sinks and window together at most the {MaxContext} of the context.");
        }
        return new(sinks, window ?? most);
    }

    /// <param name="prompt">token ids</param>
    /// <param name="maxTokens">most tokens to generate; 0: only the prompt runs</param>
    /// <param name="streaming">how it slides, if it does: then neither prompt nor text need fit the context</param>
    /// <exception cref="InvalidRequestException">The prompt is empty, too long, or has an id outside the vocabulary.</exception>
    /// <exception cref="KvBudgetException">At its longest the sequence cannot even fit into an empty store.</exception>
    public void CheckPrompt(IReadOnlyList<int> prompt, int maxTokens, KvStreaming? streaming = null)
    {
        CheckTokens(prompt, maxTokens, streaming);
        int longest = LongestLength(prompt.Count, maxTokens, streaming);
        if (!Store.FitsEmpty(longest, streaming))
        {
            throw TooLong(prompt.Count, longest, streaming);
        }
    }

    /// <summary>Tokens that a sequence can have in the end: the context's, or if it slides as many as are asked for.</summary>
    public int LongestLength(int promptTokens, int maxTokens, KvStreaming? streaming = null) =>
        (int)Math.Min((long)promptTokens + maxTokens, streaming is null ? MaxContext : LongestStream);

    // Positions are 32-bit, and some arithmetic looks a chunk ahead.
    const int LongestStream = int.MaxValue / 2;

    /// <summary>The same as <see cref="CheckPrompt"/>, but for the budget.</summary>
    /// <exception cref="InvalidRequestException">The prompt is empty, too long, or has an id outside the vocabulary.</exception>
    public void CheckTokens(IReadOnlyList<int> prompt, int maxTokens, KvStreaming? streaming = null)
    {
        if (prompt.Count == 0)
        {
            throw new InvalidRequestException("The prompt has no tokens; give at least one.");
        }
        int most = (streaming is null ? MaxContext : LongestStream) - Math.Min(maxTokens, 1);
        if (prompt.Count > most)
        {
            throw new InvalidRequestException(
                $"The prompt has {prompt.Count} tokens; with a context of {MaxContext} it can have at most {most}.");
        }
        foreach (int token in prompt)
        {
            if ((uint)token >= (uint)Config.Vocabulary)
            {
                throw new InvalidRequestException($"The prompt has the token {token}; the model knows 0 to {Config.Vocabulary - 1}.");
            }
        }
    }

    /// <summary>
    /// Why a sequence that grows to <paramref name="longest"/> tokens can never fit beside what is pinned now (and what it would
    /// use of that); null: it can. For the store's thread.
    /// </summary>
    /// <param name="tokens">what it begins with</param>
    /// <param name="promptTokens">of these, so many are the prompt</param>
    /// <param name="longest">tokens it may have in the end</param>
    /// <param name="scope">whose pages it may use</param>
    /// <param name="streaming">how it slides, if it does</param>
    public KvBudgetException? CannotFit(ReadOnlySpan<int> tokens, int promptTokens, int longest, in KvScope scope,
        KvStreaming? streaming = null) =>
        Store.CanEverFit(longest, tokens, scope, streaming) ? null : TooLong(promptTokens, longest, streaming);

    KvBudgetException TooLong(int promptTokens, int longest, KvStreaming? streaming)
    {
        long needed = Store.BytesFor(longest, streaming);
        if (streaming is { } t)
        {
            return new(
                $"A sequence that slides with {t.Sinks} sinks and a window of {t.Window} tokens needs {needed:N0} bytes of key/value pages "
                + $"({Layout.BytesPerToken:N0} per token, with room for a step of {Store.ChunkTokens}); the budget is {Store.BudgetBytes:N0}, "
                + "less what is pinned. Make the window shorter, raise the budget or dispose precomputed prompts.", needed, Store.BudgetBytes);
        }
        return new(
            $"A sequence of {promptTokens} prompt and up to {longest - promptTokens} generated tokens needs {needed:N0} bytes of "
            + $"key/value pages ({Layout.BytesPerToken:N0} per token); the budget is {Store.BudgetBytes:N0}, less what is pinned. "
            + "Ask for fewer tokens, raise the budget or dispose precomputed prompts.", needed, Store.BudgetBytes);
    }

    public void Dispose()
    {
        Backend.Dispose();
        files.Dispose();
    }

    static int ContextOf(string folder, ModelConfig config, LoadOptions options)
    {
        if (options.MaxContext > config.MaxPositions)
        {
            throw new InvalidRequestException(
                $"A context of {options.MaxContext} tokens was asked for; {folder} was made for {config.MaxPositions}."
                + (config.Rope?.Type == "dynamic" ? " Its rope scaling is dynamic, which changes every key in the cache as a text grows "
                    + "past that, so KvCuda does not lengthen it; \"yarn\" or \"linear\" scaling can be lengthened." : ""));
        }
        return options.MaxContext ?? config.MaxPositions;
    }
}
