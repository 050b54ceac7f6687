// A model folder loaded onto a backend.
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Model;

/// <summary>A model ready to run: its weights on a backend, its decoder, the memory of its keys and values.</summary>
internal sealed class LoadedModel : IDisposable
{
    readonly ModelWeights files; // in place in the mapped files
    readonly Decoder decoder;

    LoadedModel(string folder, LoadOptions options, ModelWeights files, ModelConfig config, LayerSharing sharing,
        IBackend backend, Action<string, double> report)
    {
        (this.files, Folder, Config, Sharing, Backend) = (files, folder, config, sharing, backend);
        MaxContext = ContextOf(folder, config, options);
        // Now, and not when it is first asked for: by then the folder may hold another model.
        (Identity, TokenizerIdentity) = (ModelIdentity.Of(folder, files), ModelIdentity.OfTokenizer(folder));
        Config = config = config.ForContext(MaxContext);

        long total = files.All.Sum(weight => weight.Tensor.Bytes), loaded = 0;
        WeightFormat? format = options.QuantiseTo;
        if (format is not null && !backend.Takes(format))
        {
            throw new InvalidRequestException($"Weights were asked for as {format.Name}, but {backend.Name} does not take them so; "
                + $"{format.Name} weights need the device cpu.");
        }
        KvType = options.KvType == "auto" ? files.Type : DTypes.Parse(options.KvType);
        backend.WarmUp(format ?? WeightFormat.Of(files.Type), KvType);
        var inPlace = new List<Tensor>();
        ModelWeights weights = files.Move((role, layer, tensor) =>
        {
            loaded += tensor.Bytes;
            report("weights", Math.Min(1, (double)loaded / total));
            if (WeightPreparation.Changes(config, role))
            {
                DType type = WeightPreparation.TypeOf(config, role, tensor);
                Tensor prepared = backend.Allocate(tensor.Name, type, tensor.Rows, tensor.Columns);
                backend.Write(prepared, WeightPreparation.Bytes(config, role, layer, tensor));
                return prepared;
            }
            if (format is null || !Quantiser.Takes(format, role, tensor))
            {
                Tensor readable = backend.Load(tensor);
                if (options.HoldWeights && readable.Address == tensor.Address)
                {
                    readable = backend.Allocate(tensor.Name, tensor.Type, tensor.Rows, tensor.Columns);
                    backend.CopyBytes(readable.Address, tensor.Address, tensor.Bytes);
                    files.LetGo(tensor);
                    return readable;
                }
                // Of an embedding, a token reads one row.
                if (readable.Address == tensor.Address && (!role.IsTable() || (role == TensorRole.Embedding && config.TiedHead)))
                {
                    inPlace.Add(tensor);
                }
                return readable;
            }
            Tensor quantised = backend.Allocate(tensor.Name, format, tensor.Rows, tensor.Columns);
            format.Quantise!(quantised, tensor);
            // One after another, so that both forms of the whole model are never in memory together.
            files.LetGo(tensor);
            return quantised;
        }, untie: format is not null);
        files.FetchAhead(inPlace);
        Memory = new(backend, config, Sharing, KvType, MaxContext, options, share => report("host tier", share));
        decoder = new(backend, config, weights, Sharing, Memory.ViewOf, options.MaxStepTokens, Memory.Batch.MaxWanted);
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
    public string Identity { get; }

    /// <summary>The same of the tokenizer in its folder.</summary>
    public string TokenizerIdentity { get; }

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
    public string Folder { get; }

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
            backend = BackendFactory.Create(options.Device, options.Threads, options.NumericsClass);
            if (Decoder.Needs(config, backend) is { } missing)
            {
                throw new UnsupportedModelException(missing);
            }
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
    /// <exception cref="InvalidRequestException">The experiment makes a layer read keys and values that it cannot use.</exception>
    public static LayerSharing SharingOf(ModelConfig config, string? experiment)
    {
        LayerSharing sharing = MapOf(config, experiment);
        for (int layer = 0; layer < config.Layers; layer++)
        {
            LayerConfig reads = config.LayerConfigs[layer], owns = config.LayerConfigs[sharing.Target(layer)];
            if ((reads.KvHeads, reads.HeadDim) != (owns.KvHeads, owns.HeadDim))
            {
                throw new InvalidRequestException($"The layer sharing {sharing} makes layer {layer} ({reads.KvHeads} KV heads of "
                    + $"{reads.HeadDim}) read layer {sharing.Target(layer)} ({owns.KvHeads} of {owns.HeadDim}); both must have the same.");
            }
        }
        if (sharing.IsCyclic && (config.AltUp is not null || config.PerLayerInputs is not null))
        {
            throw new InvalidRequestException($"The layer sharing {sharing} makes layers read layers above them, which KvCuda does not "
                + $"run for {config.Architecture}: its layers have inputs of their own.");
        }
        return sharing;
    }

    static LayerSharing MapOf(ModelConfig config, string? experiment) => experiment is null or "native"
        ? LayerSharing.FromConfig(config.Layers, config.SharingWindow, config.SharingMap, config.ForceStrictlyEarlier,
            config.ClaShareFactor, config.SharedTailLayers, config.Windows)
        : LayerSharing.Parse(experiment, config.Layers, config.SharingWindow, config.Windows)
            .WithStrictlyEarlier(config.ForceStrictlyEarlier);

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
        return options.MaxContext ?? config.DefaultContext;
    }
}
