// What Gemma 2, 3, 3n and 4 state alike.
using KvCuda.Tensors;
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Names and fields that Gemma's generations share.</summary>
static class GemmaFields
{
    /// <summary>Four norms per layer, q/k norms; also inside multimodal models.</summary>
    public static readonly TensorNames Names = Llama.With(
        (PostAttentionNorm, "post_attention_layernorm.weight"),
        (MlpNorm, "pre_feedforward_layernorm.weight"),
        (PostMlpNorm, "post_feedforward_layernorm.weight")) with
        {
            Prefixes = ["model.", "model.language_model.", "language_model.model."],
        };

    /// <summary>The names of per-layer embeddings (Gemma 3n, small Gemma 4) added to a table.</summary>
    public static TensorNames WithPerLayerInputs(TensorNames names) => names with
    {
        Shared = new Dictionary<TensorRole, string>(names.Shared)
        {
            [PerLayerEmbedding] = "embed_tokens_per_layer.weight",
            [PerLayerProjection] = "per_layer_model_projection.weight",
            [PerLayerProjectionNorm] = "per_layer_projection_norm.weight",
        },
        PerLayer = new Dictionary<TensorRole, string>(names.PerLayer)
        {
            [InputGate] = "per_layer_input_gate.weight",
            [InputProjection] = "per_layer_projection.weight",
            [PostInputNorm] = "post_per_layer_input_norm.weight",
        },
    };

    /// <summary>What all generations have: RMS norms before and after attention and MLP, a tied head, a scaled embedding.</summary>
    /// <param name="fields">the config</param>
    /// <param name="layers">shapes per layer</param>
    /// <param name="ropes">of full layers, and of sliding ones if they differ</param>
    /// <param name="vocabulary">where the config does not say</param>
    /// <param name="hidden">hidden size, where the config does not say</param>
    /// <param name="maxPositions">where the config does not say</param>
    /// <param name="window">sliding window in use</param>
    public static ModelConfig Base(FamilyFields fields, IReadOnlyList<LayerConfig> layers, IReadOnlyList<Rope> ropes,
        int vocabulary, int hidden, int maxPositions, int window)
    {
        ConfigJson config = fields.Config;
        fields.RefuseTrue("attention_bias", "biases of attention");
        int size = config.Int("hidden_size", hidden, 1, FamilyFields.MaxSize);
        return new()
        {
            Family = fields.Family.Id,
            Architecture = fields.Family.Architecture,
            HiddenSize = size,
            LayerConfigs = layers,
            Vocabulary = config.Int("vocab_size", vocabulary, 1, FamilyFields.MaxSize),
            MaxPositions = Math.Min(config.Int("max_position_embeddings", maxPositions, 1, int.MaxValue), FamilyFields.MaxContext),
            Norm = NormKind.Rms,
            NormEpsilon = fields.Factor("rms_norm_eps", 1e-6),
            PostNorms = true,
            Ropes = ropes,
            Activation = fields.Activation("gelu_pytorch_tanh", "hidden_activation", "hidden_act"),
            GatedMlp = true,
            AttentionScale = 1,
            EmbeddingScale = MathF.Sqrt(size),
            TiedHead = fields.Tied(true),
            SharingWindow = window,
            SharedTailLayers = config.Int("num_kv_shared_layers", 0, 0, FamilyFields.MaxLayers),
        };
    }

    /// <summary>Layers, heads, KV heads.</summary>
    public static (int Layers, int Heads, int KvHeads) Counts(FamilyFields fields, int layers, int heads, int kvHeads)
    {
        ConfigJson config = fields.Config;
        int count = config.Int("num_attention_heads", heads, 1, FamilyFields.MaxSize);
        return (config.Int("num_hidden_layers", layers, 1, FamilyFields.MaxLayers), count,
            fields.KvHeads(count, config.Int("num_key_value_heads", kvHeads, 1, FamilyFields.MaxSize)));
    }

    /// <summary>
    /// The ropes of full and of sliding layers: rope_parameters by layer type, or rope_theta with rope_scaling for full layers and
    /// rope_local_base_freq for sliding ones, which are never scaled.
    /// </summary>
    public static Rope[] Ropes(FamilyFields fields, int headDim, int maxPositions)
    {
        ConfigJson config = fields.Config;
        if (config.Object("rope_parameters") is { } nested && nested.Has("full_attention"))
        {
            return
            [
                Rope.Read(config, headDim, maxPositions, "full_attention", 1e6),
                Rope.Read(config, headDim, maxPositions, "sliding_attention"),
            ];
        }
        return
        [
            Rope.Read(config, headDim, maxPositions, otherwiseTheta: 1e6),
            Rope.Plain(config.Positive("rope_local_base_freq", 10000), headDim),
        ];
    }

    /// <summary>Refuses attention that looks ahead.</summary>
    public static void RefuseBidirectional(FamilyFields fields, params string[] causal)
    {
        if (fields.Config.Find("use_bidirectional_attention") is { } value && value.ValueKind != System.Text.Json.JsonValueKind.False
            && !(value.ValueKind == System.Text.Json.JsonValueKind.String && causal.Contains(value.GetString())))
        {
            throw fields.Config.Unsupported("use_bidirectional_attention asks for tokens that see later ones, which KvCuda does not implement");
        }
    }

    /// <summary>Per-layer embeddings, or null where their size is 0.</summary>
    public static PerLayerInputs? Inputs(FamilyFields fields, int vocabulary)
    {
        int size = fields.Config.Int("hidden_size_per_layer_input", 256, 0, FamilyFields.MaxSize);
        int rows = fields.Config.Int("vocab_size_per_layer_input", 262144, 1, FamilyFields.MaxSize);
        return size == 0 ? null : new(size, Math.Min(rows, vocabulary), rows);
    }
}
