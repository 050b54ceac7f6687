using KvCuda.Tensors;

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
}

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

    public required int Layers { get; init; }

    public required int Heads { get; init; }

    public required int KvHeads { get; init; }

    /// <summary>Numbers per head, even; heads * HeadDim need not be HiddenSize.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Inner size of the MLP.</summary>
    public required int MlpSize { get; init; }

    public required int Vocabulary { get; init; }

    /// <summary>The longest sequence the model was made for.</summary>
    public required int MaxPositions { get; init; }

    public required NormKind Norm { get; init; }

    public required float NormEpsilon { get; init; }

    /// <summary>Rotary positions; null: learned positions, added to the embedding.</summary>
    public required Rope? Rope { get; init; }

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
    public required IReadOnlyList<int> Windows { get; init; }

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
    public int QuerySize => Heads * HeadDim;

    /// <summary>Columns of the key and of the value projection: kvHeads * HeadDim.</summary>
    public int KvSize => KvHeads * HeadDim;

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
