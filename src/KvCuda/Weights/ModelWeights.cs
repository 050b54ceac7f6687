using KvCuda.Tensors;
using KvCuda.Weights.Families;

namespace KvCuda.Weights;

/// <summary>
/// The weights of a model as views, named by what they are for. Loaded from a folder they lie in place in the mapped
/// files, each in the type it is stored as; <see cref="Move"/> gives the same weights on a backend.
/// </summary>
sealed class ModelWeights : IDisposable
{
    readonly Tensor[] shared;
    readonly Tensor[][] byLayer;
    readonly SafetensorsModel? owned;
    volatile bool enough;
    Task? fetching;

    ModelWeights(Tensor[] shared, Tensor[][] byLayer, SafetensorsModel? owned)
    {
        this.shared = shared;
        this.byLayer = byLayer;
        this.owned = owned;
        Layers = [.. byLayer.Select(layer => new LayerWeights(layer))];
    }

    // Roles that exist several times stand behind all others, three to an index.
    const int PerIndex = 3;

    static int SlotOf(in TensorSpec spec) => spec.Index < 0 ? (int)spec.Role : Indexed(spec.Role, spec.Index);

    /// <summary>The place of one of several tensors of a role.</summary>
    internal static int Indexed(TensorRole role, int index) => TensorRoles.Count + (PerIndex * index)
        + (int)role - (int)(role.IsPerLayer() ? TensorRole.ExpertGate : TensorRole.StreamProjection);

    static TensorRole RoleOf(int slot, int layer) => slot < TensorRoles.Count
        ? (TensorRole)slot
        : (layer < 0 ? TensorRole.StreamProjection : TensorRole.ExpertGate) + ((slot - TensorRoles.Count) % PerIndex);

    static (Tensor[] Shared, Tensor[][] ByLayer) Empty(ModelConfig config) => (
        new Tensor[TensorRoles.Count + (PerIndex * (config.AltUp?.Streams ?? 0))],
        [.. config.LayerConfigs.Select(layer =>
            new Tensor[TensorRoles.Count + (PerIndex * (layer.HasExperts ? config.Experts!.Count : 0))])]);

    /// <summary>(vocabulary, hidden)</summary>
    public ref readonly Tensor Embedding => ref shared[(int)TensorRole.Embedding];

    /// <summary>(positions, hidden), or none: learned positions</summary>
    public ref readonly Tensor PositionEmbedding => ref shared[(int)TensorRole.PositionEmbedding];

    /// <summary>(1, hidden)</summary>
    public ref readonly Tensor FinalNorm => ref shared[(int)TensorRole.FinalNorm];

    /// <summary>(1, hidden), or none</summary>
    public ref readonly Tensor FinalNormBias => ref shared[(int)TensorRole.FinalNormBias];

    /// <summary>(vocabulary, hidden); the embedding itself where the head is tied</summary>
    public ref readonly Tensor Head => ref shared[(int)TensorRole.Head];

    /// <summary>(vocabulary, layers * size): embeddings of all layers, or none</summary>
    public ref readonly Tensor PerLayerEmbedding => ref shared[(int)TensorRole.PerLayerEmbedding];

    /// <summary>(layers * size, hidden): what of a token's embedding is added to them, or none</summary>
    public ref readonly Tensor PerLayerProjection => ref shared[(int)TensorRole.PerLayerProjection];

    /// <summary>(1, size), or none</summary>
    public ref readonly Tensor PerLayerProjectionNorm => ref shared[(int)TensorRole.PerLayerProjectionNorm];

    /// <summary>(hidden, hidden): makes further stream <paramref name="i"/> from the embedding</summary>
    public Tensor StreamProjection(int i) => shared[Indexed(TensorRole.StreamProjection, i)];

    /// <summary>(hidden, hidden): its way back</summary>
    public Tensor StreamReturn(int i) => shared[Indexed(TensorRole.StreamReturn, i)];

    /// <summary>One per layer.</summary>
    public IReadOnlyList<LayerWeights> Layers { get; }

    /// <summary>The element type of the query projection of layer 0: what "auto" means for the KV store.</summary>
    public DType Type => Layers[0].Query.Type;

    /// <summary>Every tensor once, with its role and layer (-1: of the whole model).</summary>
    public IEnumerable<(TensorRole Role, int Layer, Tensor Tensor)> All
    {
        get
        {
            for (int layer = -1; layer < byLayer.Length; layer++)
            {
                Tensor[] tensors = layer < 0 ? shared : byLayer[layer];
                for (int slot = 0; slot < tensors.Length; slot++)
                {
                    bool tied = layer < 0 && slot == (int)TensorRole.Head && tensors[slot].Address == Embedding.Address;
                    if (!tensors[slot].IsNone && !tied)
                    {
                        yield return (RoleOf(slot, layer), layer, tensors[slot]);
                    }
                }
            }
        }
    }

    /// <summary>Loads the weights of a model folder; disposing them closes its files.</summary>
    /// <param name="folder">model folder</param>
    /// <param name="config">its configuration</param>
    /// <param name="ownsKv">whether a layer computes keys and values; tensors for them are needed only there</param>
    /// <exception cref="ModelFormatException">A tensor is missing, or has another shape than the config says.</exception>
    public static ModelWeights Load(string folder, ModelConfig config, Func<int, bool> ownsKv)
    {
        SafetensorsModel files = SafetensorsModel.Open(folder);
        try
        {
            return Load(files, config, ownsKv, files);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>Views into open files, which must outlive them.</summary>
    public static ModelWeights Load(SafetensorsModel files, ModelConfig config, Func<int, bool> ownsKv) =>
        Load(files, config, ownsKv, null);

    static ModelWeights Load(SafetensorsModel files, ModelConfig config, Func<int, bool> ownsKv, SafetensorsModel? owned)
    {
        (Tensor[] shared, Tensor[][] byLayer) = Empty(config);
        foreach (TensorSpec spec in TensorList.Of(config, ownsKv))
        {
            (spec.Layer < 0 ? shared : byLayer[spec.Layer])[SlotOf(spec)] = View(files, config, spec);
        }
        if (config.TiedHead)
        {
            shared[(int)TensorRole.Head] = shared[(int)TensorRole.Embedding];
            TiedHeads.Check(files, config, shared[(int)TensorRole.Embedding]);
        }
        return new(shared, byLayer, owned);
    }

    /// <summary>The shapes of a model's weights at an address that nothing may read: for planning what would run.</summary>
    /// <param name="config">the model</param>
    /// <param name="ownsKv">whether a layer computes keys and values</param>
    /// <param name="type">of all weights</param>
    /// <param name="address">as aligned as weights would be</param>
    public static ModelWeights WithoutNumbers(ModelConfig config, Func<int, bool> ownsKv, DType type, nint address)
    {
        (Tensor[] shared, Tensor[][] byLayer) = Empty(config);
        foreach (TensorSpec spec in TensorList.Of(config, ownsKv))
        {
            (spec.Layer < 0 ? shared : byLayer[spec.Layer])[SlotOf(spec)] = new(spec.Name, type, address, spec.Rows, spec.Columns);
        }
        if (config.TiedHead)
        {
            shared[(int)TensorRole.Head] = shared[(int)TensorRole.Embedding];
        }
        return new(shared, byLayer, null);
    }

    /// <summary>
    /// The rows of a stored tensor that a spec asks for, checked. The places where a family's files may have it are tried in order:
    /// its own name, with or without a prefix, or some rows of a fused tensor.
    /// </summary>
    /// <exception cref="ModelFormatException">It is missing or of another shape.</exception>
    /// <exception cref="UnsupportedModelException">Its element type is no weight's.</exception>
    public static Tensor View(SafetensorsModel files, ModelConfig config, in TensorSpec spec)
    {
        foreach (TensorSource source in TensorNames.Of(config.Family).SourcesOf(config, spec))
        {
            if (!files.TryGet(source.Name, out StoredTensor? stored))
            {
                continue;
            }
            if (!stored.Shape.Equals(source.Stored))
            {
                throw new ModelFormatException($"{stored.File}: {stored.Name} has the shape {stored.Shape}, "
                    + $"but config.json makes it {source.Stored}.");
            }
            return stored.Type.Type is DType type
                ? new(spec.Name, type, stored.Address + (nint)(source.FirstRow * spec.Columns * type.Bytes()), spec.Rows, spec.Columns)
                : throw new UnsupportedModelException(
                    $"{stored.File}: {stored.Name} is stored as {stored.Type.Name}; weights may be F32, F16 or BF16.");
        }
        throw new ModelFormatException(Missing(files, config, spec));
    }

    static string Missing(SafetensorsModel files, ModelConfig config, in TensorSpec spec)
    {
        string message = $"{files.Path}: the tensor {spec.Name} {spec.Shape} is missing";
        if (spec.Role == TensorRole.Head)
        {
            return message + "; a model whose head is its embedding says so in config.json (tie_word_embeddings).";
        }
        if (spec.Role.IsKeyOrValue())
        {
            return message + $"; the layer sharing in use makes layer {spec.Layer} compute keys and values, "
                + "but the model was made with another one.";
        }
        return message + (files.Tensors.Count == 0
            ? "; the files hold no tensors at all."
            : $"; a {config.Architecture} has it, and the files hold {files.Tensors.Count} tensors such as "
                + $"{SafetensorsHeader.Printable(files.Tensors.Keys.Order(StringComparer.Ordinal).First())}.");
    }

    /// <summary>
    /// The same weights elsewhere: <paramref name="move"/> is called once per tensor; a tied head stays tied, unless it is to become
    /// another tensor than the embedding.
    /// </summary>
    /// <param name="move">given role, layer (-1: of the whole model) and tensor</param>
    /// <param name="untie">the head is moved by itself</param>
    public ModelWeights Move(Func<TensorRole, int, Tensor, Tensor> move, bool untie = false)
    {
        Tensor[] movedShared = [.. shared];
        bool tied = !untie && Head.Address == Embedding.Address;
        for (int slot = 0; slot < movedShared.Length; slot++)
        {
            if (!movedShared[slot].IsNone && !(tied && slot == (int)TensorRole.Head))
            {
                movedShared[slot] = move(RoleOf(slot, -1), -1, movedShared[slot]);
            }
        }
        if (tied)
        {
            movedShared[(int)TensorRole.Head] = movedShared[(int)TensorRole.Embedding];
        }
        return new(movedShared, [.. byLayer.Select((tensors, layer) =>
            tensors.Select((t, slot) => t.IsNone ? t : move(RoleOf(slot, layer), layer, t)).ToArray())], null);
    }

    /// <summary>The memory of a tensor that will not be read again may go; its file stays open.</summary>
    public void LetGo(in Tensor tensor)
    {
        foreach (SafetensorsFile file in owned?.Files ?? [])
        {
            file.LetGo(tensor.Address, tensor.Bytes);
        }
    }

    /// <summary>
    /// Begins to read tensors from their files, beside the caller: whoever looks at them later finds them in memory. Not if they would
    /// fill most of it, because then the first would be gone again when the last came.
    /// </summary>
    public void FetchAhead(IReadOnlyList<Tensor> tensors)
    {
        if (owned is null || tensors.Sum(tensor => tensor.Bytes) > GC.GetGCMemoryInfo().TotalAvailableMemoryBytes * 0.7)
        {
            return;
        }
        fetching = Task.Factory.StartNew(() =>
        {
            foreach (Tensor tensor in tensors)
            {
                MappedPages.Fetch(tensor.Address, tensor.Bytes, () => enough);
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Closes the files if it opened them: every view is dead.</summary>
    public void Dispose()
    {
        enough = true;
        fetching?.Wait();
        owned?.Dispose();
    }
}
