// What config.json says of a model, in one form for all families: scalars of the model, and a shape per layer.
using KvCuda.Tensors;
using KvCuda.Weights.Families;

namespace KvCuda.Weights;

/// <summary>The supported families: one for each way of naming tensors and reading configs.</summary>
enum ModelFamily
{
    Llama,
    LckvLlama,
    Mistral,
    Qwen2,
    Qwen3,
    Hunyuan,
    GptNeo,
    Gemma2,
    Gemma3,
    Gemma3n,
    Gemma4,
    Phi3,
    SmolLm3,
    Granite,
    Olmo2,
    Cohere2,
    Qwen3Moe,
    Mixtral,
}

/// <summary>What normalises the hidden state.</summary>
enum NormKind
{
    /// <summary>x / rms(x) * weight.</summary>
    Rms,

    /// <summary>(x - mean) / deviation * weight + bias.</summary>
    Layer,
}

/// <summary>Whether query and key heads are normalised (RMS, per head), and when.</summary>
enum HeadNorm
{
    None,
    BeforeRope,
    AfterRope,

    /// <summary>Before the rotation, over all heads together instead of each (OLMo 2).</summary>
    Whole,
}

/// <summary>The shape of one layer.</summary>
/// <param name="Heads">query heads</param>
/// <param name="KvHeads">key/value heads, of which query heads are a multiple</param>
/// <param name="HeadDim">numbers per head, even</param>
/// <param name="MlpSize">inner size of the dense MLP; 0: it has none</param>
sealed record LayerConfig(int Heads, int KvHeads, int HeadDim, int MlpSize)
{
    /// <summary>Tokens it may see by its architecture, its own included; 0: all.</summary>
    public int Window { get; init; }

    /// <summary>Which of <see cref="ModelConfig.Ropes"/> turns its queries and keys; -1: none.</summary>
    public int Rope { get; init; }

    /// <summary>Values are made from the key projection: there is none of their own (Gemma 4).</summary>
    public bool KeyIsValue { get; init; }

    /// <summary>Gates below mean + threshold * deviation of their row are 0 (Gemma 3n); null: none is cut.</summary>
    public float? GateThreshold { get; init; }

    /// <summary>Its MLP is a mixture of <see cref="ModelConfig.Experts"/>.</summary>
    public bool HasExperts { get; init; }

    /// <summary>Columns of the query projection.</summary>
    public int QuerySize => Heads * HeadDim;

    /// <summary>Columns of the key and of the value projection.</summary>
    public int KvSize => KvHeads * HeadDim;
}

/// <summary>Embeddings that every layer has of its own (Gemma 3n, small Gemma 4).</summary>
/// <param name="Size">numbers per token and layer</param>
/// <param name="Vocabulary">ids that have rows of their own; higher ones read row 0</param>
/// <param name="Rows">rows of the table</param>
sealed record PerLayerInputs(int Size, int Vocabulary, int Rows);

/// <summary>Several residual streams, of which one is computed with and the others are predicted (Gemma 3n).</summary>
/// <param name="Streams">how many</param>
/// <param name="Active">the one computed with</param>
/// <param name="ScalesOutput">the active stream is scaled per column before per-layer inputs</param>
/// <param name="Rank">of the low-rank branch beside attention (LAuReL)</param>
sealed record AltUp(int Streams, int Active, bool ScalesOutput, int Rank);

/// <summary>
/// What a model folder's config.json says, in one form for all families.
/// Counts are positive and consistent; whatever KvCuda would compute wrongly was refused by name.
/// </summary>
sealed record ModelConfig
{
    public required ModelFamily Family { get; init; }

    /// <summary>As in the config: "LlamaForCausalLM".</summary>
    public required string Architecture { get; init; }

    public required int HiddenSize { get; init; }

    /// <summary>The shape of each layer.</summary>
    public required IReadOnlyList<LayerConfig> LayerConfigs { get; init; }

    public int Layers => LayerConfigs.Count;

    /// <summary>Query heads: the most of any layer, as are the other sizes without a layer.</summary>
    public int Heads => LayerConfigs.Max(layer => layer.Heads);

    public int KvHeads => LayerConfigs.Max(layer => layer.KvHeads);

    /// <summary>Numbers per head, even; heads * HeadDim need not be HiddenSize.</summary>
    public int HeadDim => LayerConfigs.Max(layer => layer.HeadDim);

    /// <summary>Inner size of the MLP.</summary>
    public int MlpSize => LayerConfigs.Max(layer => layer.MlpSize);

    public required int Vocabulary { get; init; }

    /// <summary>The longest sequence the model was made for.</summary>
    public required int MaxPositions { get; init; }

    public required NormKind Norm { get; init; }

    public required float NormEpsilon { get; init; }

    /// <summary>Norms of the hidden state have biases.</summary>
    public bool NormBias { get; init; }

    /// <summary>RMS norms multiply by 1 + weight (Gemma 2 and 3).</summary>
    public bool NormPlusOne { get; init; }

    /// <summary>Attention and MLP see a normalised stream.</summary>
    public bool PreNorms { get; init; } = true;

    /// <summary>What attention and MLP give is normalised before it is added.</summary>
    public bool PostNorms { get; init; }

    /// <summary>Attention and MLP both see the stream before the layer, through one norm (Cohere).</summary>
    public bool ParallelBlock { get; init; }

    /// <summary>Value heads are normalised, without weight.</summary>
    public bool ValueNorm { get; init; }

    /// <summary>A layer's result is multiplied by a number of its own (Gemma 4).</summary>
    public bool LayerScalar { get; init; }

    /// <summary>Multiplies embeddings.</summary>
    public float EmbeddingScale { get; init; } = 1;

    /// <summary>Multiplies what attention and MLP give.</summary>
    public float ResidualScale { get; init; } = 1;

    /// <summary>Multiplies logits.</summary>
    public float LogitScale { get; init; } = 1;

    /// <summary>Logits are cap * tanh(logits / cap), after their scale; 0: they are not.</summary>
    public float LogitCap { get; init; }

    /// <summary>The same of scores, before the mask.</summary>
    public float ScoreCap { get; init; }

    /// <summary>Rotations pair neighbours (2i, 2i + 1) instead of halves: queries' and keys' rows are put in order at load.</summary>
    public bool NeighbourRotation { get; init; }

    /// <summary>Embeddings per layer, or null.</summary>
    public PerLayerInputs? PerLayerInputs { get; init; }

    /// <summary>Several streams, or null.</summary>
    public AltUp? AltUp { get; init; }

    /// <summary>The experts of layers that have them, or null.</summary>
    public Experts? Experts { get; init; }

    /// <summary>Rotary positions that layers turn by; none: learned positions, added to the embedding.</summary>
    public required IReadOnlyList<Rope> Ropes { get; init; }

    /// <summary>The rotary positions of layers that see everything; null: learned positions.</summary>
    public Rope? Rope => Ropes.Count > 0 ? Ropes[0] : null;

    public required Activation Activation { get; init; }

    /// <summary>Down(activation(Gate x) * Up x) if true, else Down(activation(Up x)).</summary>
    public required bool GatedMlp { get; init; }

    /// <summary>Query, Key and Value have biases.</summary>
    public bool QkvBias { get; init; }

    /// <summary>The attention's output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Gate, Up and Down have biases.</summary>
    public bool MlpBias { get; init; }

    public HeadNorm HeadNorm { get; init; }

    /// <summary>Multiplies the scores.</summary>
    public required float AttentionScale { get; init; }

    /// <summary>Per layer the tokens it may see by its architecture, its own included; 0: all.</summary>
    public IReadOnlyList<int> Windows => [.. LayerConfigs.Select(layer => layer.Window)];

    /// <summary>The output head is the embedding.</summary>
    public required bool TiedHead { get; init; }

    /// <summary>LCKV's layer_types, as one string; null: the config has none.</summary>
    public string? SharingMap { get; init; }

    /// <summary>The window that the suffix 's' of a sharing map stands for; 0: none.</summary>
    public int SharingWindow { get; init; }

    /// <summary>LCKV's force_nodiag.</summary>
    public bool ForceStrictlyEarlier { get; init; }

    /// <summary>Hunyuan's cla_share_factor if use_cla; else 1.</summary>
    public int ClaShareFactor { get; init; } = 1;

    /// <summary>Gemma's num_kv_shared_layers; else 0.</summary>
    public int SharedTailLayers { get; init; }

    /// <summary>LCKV's forward_passes: iterations of the study's prompt pass without gradient.</summary>
    public int ForwardPasses { get; init; } = 7;

    /// <summary>LCKV's backward_passes: iterations with gradient; a prompt takes both.</summary>
    public int BackwardPasses { get; init; } = 2;

    /// <summary>Fields of config.json that nothing here looked at: reported by `kvcuda inspect`.</summary>
    public IReadOnlyList<string> UnreadFields { get; init; } = [];

    /// <summary>torch_dtype; null if the config does not say.</summary>
    public DType? Type { get; init; }

    /// <summary>Columns of the query projection: heads * HeadDim.</summary>
    public int QuerySize => LayerConfigs.Max(layer => layer.QuerySize);

    /// <summary>Columns of the key and of the value projection: kvHeads * HeadDim.</summary>
    public int KvSize => LayerConfigs.Max(layer => layer.KvSize);

    /// <summary>
    /// The longest context that is offered unless a longer one is asked for: LongRoPE has other factors for longer sequences, and
    /// all sequences of an engine have the same.
    /// </summary>
    public int DefaultContext => Ropes.Where(rope => rope.Long is not null).Select(rope => rope.NativePositions)
        .Append(MaxPositions).Min();

    /// <summary>Whether LongRoPE's long factors are in use: keys then differ from those of a shorter context.</summary>
    public bool LongRope { get; private init; }

    /// <summary>The model as it computes when sequences may have this many tokens: with LongRoPE's long factors beyond its native length.</summary>
    public ModelConfig ForContext(int tokens) => this with
    {
        LongRope = Ropes.Any(rope => rope.Long is not null && tokens > rope.NativePositions),
        Ropes = [.. Ropes.Select(rope => rope.Long is { } other && tokens > rope.NativePositions ? other : rope)],
    };

    /// <summary>Reads the configuration of a model folder.</summary>
    /// <exception cref="ModelFormatException">A file is missing or malformed, or its fields contradict each other.</exception>
    /// <exception cref="UnsupportedModelException">The model needs what KvCuda does not implement.</exception>
    public static ModelConfig Load(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new ModelFormatException(FolderProblem.Of(folder));
        }
        return LoadFile(Path.Combine(folder, "config.json"));
    }

    /// <summary>Reads one config.json, wherever it lies.</summary>
    public static ModelConfig LoadFile(string path)
    {
        ConfigJson json = ConfigJson.Load(path);
        ModelConfig config = ModelConfigReader.Read(json);
        return config with { UnreadFields = KnownFields.UnknownOf(json.Unread) };
    }
}
