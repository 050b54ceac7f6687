// What the families' readers have in common: sizes, heads, windows, activations.
using System.Text.Json;
using KvCuda.Tensors;

namespace KvCuda.Weights.Families;

/// <summary>A config being read for one family.</summary>
/// <param name="Config">the text model's fields</param>
/// <param name="Outer">the file's fields; the same unless the config is nested</param>
/// <param name="Family">whose reader reads</param>
sealed record FamilyFields(ConfigJson Config, ConfigJson Outer, Family Family)
{
    /// <summary>Above any model there is; keeps products of two within 64 bits and layer lists small.</summary>
    public const int MaxSize = 1 << 22, MaxLayers = 4096;

    /// <summary>Longest context that is offered whatever the config states: some state 2^31 - 1 for "any".</summary>
    public const int MaxContext = 1 << 24;

    /// <summary>hidden_size and the like.</summary>
    public int Size(string name) => Config.Int(name, 1, MaxSize);

    /// <summary>Whether the head is the embedding; nested configs state it inside or outside.</summary>
    public bool Tied(bool otherwise) => Config.Bool("tie_word_embeddings", Outer.Bool("tie_word_embeddings", otherwise));

    /// <summary>head_dim, checked; 0 for <paramref name="otherwise"/>: the hidden size divided by the heads.</summary>
    public int HeadDim(int hidden, int heads, int otherwise = 0)
    {
        int divided = otherwise > 0 ? otherwise : hidden % heads == 0 ? hidden / heads : 0;
        int headDim = Config.Int("head_dim", Config.Int("attention_head_dim", divided, 1, 4096), 1, 4096);
        return headDim == 0
            ? throw Config.Wrong($"hidden_size {hidden} is not a multiple of num_attention_heads {heads}, and head_dim is missing")
            : CheckedHeadDim(headDim, heads);
    }

    /// <summary>Refuses heads that kernels cannot run.</summary>
    public int CheckedHeadDim(int headDim, int heads) => headDim % 2 == 0 && (long)headDim * heads <= MaxSize
        ? headDim
        : throw Config.Unsupported($"heads of {headDim} numbers are not supported; they must be even, and all {heads} heads "
            + $"of a layer together at most {MaxSize}");

    /// <summary>Key/value heads, of which query heads are a multiple.</summary>
    public int KvHeads(int heads, int? stated = null)
    {
        int kvHeads = stated ?? Config.Int("num_key_value_heads", heads, 1, MaxSize);
        return heads % kvHeads == 0 ? kvHeads
            : throw Config.Wrong($"num_attention_heads {heads} is not a multiple of num_key_value_heads {kvHeads}");
    }

    /// <summary>Windows by a layer_types list; null without one.</summary>
    public int[]? WindowsByType(int layers, int window)
    {
        if (Config.Texts("layer_types") is not string[] types)
        {
            return null;
        }
        if (types.Length != layers)
        {
            throw Config.Wrong($"layer_types has {types.Length} entries for {layers} layers");
        }
        return [.. types.Select((type, layer) => type switch
        {
            "full_attention" => 0,
            "sliding_attention" when window > 0 => window,
            "sliding_attention" => throw Config.Wrong($"layer {layer} is sliding_attention, but no sliding_window is in use"),
            _ => throw Config.Unsupported($"layer {layer} is of type '{SafetensorsHeader.Printable(type)}'; supported are "
                + "full_attention and sliding_attention"),
        })];
    }

    /// <summary>Windows by layer_types, or else every <paramref name="pattern"/>-th layer sees everything and the others the window.</summary>
    public int[] WindowsByPattern(int layers, int window, int pattern) => WindowsByType(layers, window)
        ?? [.. Enumerable.Range(0, layers).Select(layer => (layer + 1) % pattern == 0 ? 0 : window)];

    /// <summary>The activation that a field names.</summary>
    public Activation Activation(string otherwise, params string[] fields)
    {
        string field = fields.FirstOrDefault(name => Config.Has(name)) ?? fields[0], name = Config.Text(field) ?? otherwise;
        return name switch
        {
            "silu" or "swish" => Tensors.Activation.Silu,
            "gelu_new" or "gelu_pytorch_tanh" or "gelu_fast" => Tensors.Activation.GeluTanh,
            "gelu" => Tensors.Activation.Gelu,
            "relu" => Tensors.Activation.Relu,
            _ => throw Config.Unsupported($"the activation '{SafetensorsHeader.Printable(name)}' ({field}) is not supported; "
                + "supported are silu, gelu, gelu_new, gelu_pytorch_tanh and relu"),
        };
    }

    /// <summary>A finite number as f32, above zero.</summary>
    public float Factor(string name, double otherwise = 1) => (float)Config.Positive(name, otherwise);

    /// <summary>A soft cap, or 0 for none.</summary>
    public float Cap(string name, double otherwise = 0) => Config.Has(name) ? (float)Config.Positive(name, 1) : (float)otherwise;

    /// <summary>Refuses a field that is true and not implemented for the family.</summary>
    public void RefuseTrue(string name, string meaning)
    {
        if (Config.Find(name) is { ValueKind: not JsonValueKind.False })
        {
            throw Config.Unsupported($"{name} asks for {meaning}, which KvCuda does not implement for {Family.Architecture}");
        }
    }

    /// <summary>
    /// What Llama's descendants state alike; a family changes what it has otherwise. All layers have one shape.
    /// </summary>
    /// <param name="epsilon">of norms, where the config does not say</param>
    /// <param name="headDim">numbers of a head, where the config does not say; 0: hidden size / heads</param>
    /// <param name="tied">whether the head is the embedding, where the config does not say</param>
    /// <param name="windows">per layer, given layers and sliding_window; null: by layer_types, or none</param>
    /// <param name="theta">base of the rotary frequencies, where the config does not say</param>
    public ModelConfig LlamaLike(double epsilon = 1e-6, int headDim = 0, bool tied = false,
        Func<int, int, int[]>? windows = null, double theta = 10000)
    {
        int hidden = Size("hidden_size"), layers = Config.Int("num_hidden_layers", 1, MaxLayers);
        int heads = Size("num_attention_heads"), kvHeads = KvHeads(heads), dim = HeadDim(hidden, heads, headDim);
        int window = Config.Int("sliding_window", 0, 0, int.MaxValue), mlp = Size("intermediate_size");
        int maxPositions = Config.Int("max_position_embeddings", 2048, 1, int.MaxValue);
        int[] windowOf = windows?.Invoke(layers, window) ?? WindowsByType(layers, window) ?? new int[layers];
        Rope rope = Rope.Read(Config, dim, maxPositions, otherwiseTheta: theta);
        bool bias = Config.Bool("attention_bias", false);
        return new()
        {
            Family = Family.Id,
            Architecture = Family.Architecture,
            HiddenSize = hidden,
            LayerConfigs = [.. windowOf.Select(w => new LayerConfig(heads, kvHeads, dim, mlp) { Window = w })],
            Vocabulary = Size("vocab_size"),
            MaxPositions = Math.Min(rope.MaxPositions, MaxContext),
            Norm = NormKind.Rms,
            NormEpsilon = (float)Config.Positive("rms_norm_eps", epsilon),
            Ropes = [rope],
            Activation = Activation("silu", "hidden_act"),
            GatedMlp = true,
            QkvBias = bias,
            OutputBias = bias,
            MlpBias = Config.Bool("mlp_bias", false),
            AttentionScale = (float)(1 / Math.Sqrt(dim)),
            TiedHead = Tied(tied),
            SharingMap = Config.Find("layer_types") is { ValueKind: JsonValueKind.String } ? Config.Text("layer_types") : null,
            // 4096 is the default of LCKV's config class.
            SharingWindow = window > 0 ? window : 4096,
            ForceStrictlyEarlier = Config.Bool("force_nodiag", false),
            ClaShareFactor = Config.Bool("use_cla", false) ? Config.Int("cla_share_factor", 1, 1, MaxLayers) : 1,
            SharedTailLayers = Config.Int("num_kv_shared_layers", 0, 0, MaxLayers),
            ForwardPasses = Config.Int("forward_passes", 7, 0, 1000),
            BackwardPasses = Config.Int("backward_passes", 2, 0, 1000),
        };
    }
}
