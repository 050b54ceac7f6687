using System.Text.Json;
using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>From the fields of Hugging Face configs to <see cref="ModelConfig"/>, with the defaults of each family.</summary>
static class ModelConfigReader
{
    /// <summary>Above any model there is; keeps products of two within 64 bits and layer lists small.</summary>
    const int MaxSize = 1 << 22, MaxLayers = 4096;

    static readonly (string Architecture, string ModelType, ModelFamily Family)[] Supported =
    [
        ("LlamaForCausalLM", "llama", ModelFamily.Llama),
        ("LCKVLlamaForCausalLM", "lckv-llama", ModelFamily.LckvLlama),
        ("MistralForCausalLM", "mistral", ModelFamily.Mistral),
        ("Qwen2ForCausalLM", "qwen2", ModelFamily.Qwen2),
        ("Qwen3ForCausalLM", "qwen3", ModelFamily.Qwen3),
        ("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", ModelFamily.Hunyuan),
        ("GPTNeoForCausalLM", "gpt_neo", ModelFamily.GptNeo),
    ];

    /// <summary>The architectures by name.</summary>
    public static IEnumerable<string> Architectures => Supported.Select(entry => entry.Architecture);

    /// <summary>Longest context that is offered whatever the config states: some state 2^31 - 1 for "any".</summary>
    const int MaxContext = 1 << 24;

    /// <summary>Reads a config.</summary>
    public static ModelConfig Read(ConfigJson config)
    {
        (string architecture, ModelFamily family) = FamilyOf(config);
        Refusals.Check(config);
        ModelConfig model = family == ModelFamily.GptNeo ? GptNeo(config, architecture) : LlamaLike(config, architecture, family);
        string? type = config.Text("torch_dtype") ?? config.Text("dtype");
        return model with
        {
            Type = type switch
            {
                null or "auto" => null,
                "float32" => DType.F32,
                "float16" => DType.F16,
                "bfloat16" => DType.BF16,
                _ => throw config.Unsupported($"weights of type '{SafetensorsHeader.Printable(type)}' are not supported; "
                    + "supported are float32, float16 and bfloat16"),
            },
        };
    }

    static (string, ModelFamily) FamilyOf(ConfigJson config)
    {
        string? architecture = config.Texts("architectures")?.FirstOrDefault();
        string? modelType = config.Text("model_type");
        foreach ((string name, string type, ModelFamily family) in Supported)
        {
            if (architecture is null ? type == modelType : name == architecture)
            {
                return (name, family);
            }
        }
        throw config.Unsupported($"the architecture '{SafetensorsHeader.Printable(architecture ?? modelType ?? "(none)")}' is not "
            + $"supported; supported are {string.Join(", ", Architectures)}");
    }

    static ModelConfig LlamaLike(ConfigJson config, string architecture, ModelFamily family)
    {
        int hidden = config.Int("hidden_size", 1, MaxSize);
        int layers = config.Int("num_hidden_layers", 1, MaxLayers);
        int heads = config.Int("num_attention_heads", 1, MaxSize);
        int kvHeads = config.Int("num_key_value_heads", heads, 1, MaxSize);
        if (heads % kvHeads != 0)
        {
            throw config.Wrong($"num_attention_heads {heads} is not a multiple of num_key_value_heads {kvHeads}");
        }
        int headDim = HeadDim(config, family, hidden, heads);
        int maxPositions = config.Int("max_position_embeddings", 2048, 1, int.MaxValue);
        bool attentionBias = config.Bool("attention_bias", false);
        string? sharingMap = config.Find("layer_types") is { ValueKind: JsonValueKind.String } ? config.Text("layer_types") : null;
        bool windowed = family switch
        {
            ModelFamily.Mistral => true,
            ModelFamily.Qwen2 or ModelFamily.Qwen3 => config.Bool("use_sliding_window", false),
            _ => config.Texts("layer_types") is not null,
        };
        int window = config.Int("sliding_window", 0, 0, int.MaxValue);
        Rope rope = Rope.Read(config, headDim, maxPositions);
        if (rope.Long is not null)
        {
            throw config.Unsupported("the rope type 'longrope' is not supported for this architecture");
        }
        return new()
        {
            Family = family,
            Architecture = architecture,
            HiddenSize = hidden,
            Layers = layers,
            Heads = heads,
            KvHeads = kvHeads,
            HeadDim = headDim,
            MlpSize = config.Int("intermediate_size", 1, MaxSize),
            Vocabulary = config.Int("vocab_size", 1, MaxSize),
            MaxPositions = Math.Min(rope.MaxPositions, MaxContext),
            Norm = NormKind.Rms,
            NormEpsilon = (float)config.Positive("rms_norm_eps", family == ModelFamily.Hunyuan ? 1e-5 : 1e-6),
            Rope = rope,
            Activation = ActivationOf(config, "hidden_act", "silu"),
            GatedMlp = true,
            QkvBias = family == ModelFamily.Qwen2 || attentionBias,
            OutputBias = family != ModelFamily.Qwen2 && attentionBias,
            MlpBias = config.Bool("mlp_bias", false),
            HeadNorm = family switch
            {
                ModelFamily.Qwen3 => HeadNorm.BeforeRope,
                ModelFamily.Hunyuan when config.Bool("use_qk_norm", true) => HeadNorm.AfterRope,
                _ => HeadNorm.None,
            },
            AttentionScale = (float)(1 / Math.Sqrt(headDim)),
            Windows = Windows(config, family, layers, windowed ? window : 0),
            TiedHead = config.Bool("tie_word_embeddings", false),
            SharingMap = sharingMap,
            // 4096 is the default of LCKV's config class.
            SharingWindow = window > 0 ? window : 4096,
            ForceStrictlyEarlier = config.Bool("force_nodiag", false),
            ClaShareFactor = config.Bool("use_cla", false) ? config.Int("cla_share_factor", 1, 1, MaxLayers) : 1,
            SharedTailLayers = config.Int("num_kv_shared_layers", 0, 0, MaxLayers),
            ForwardPasses = config.Int("forward_passes", 7, 0, 1000),
            BackwardPasses = config.Int("backward_passes", 2, 0, 1000),
        };
    }

    static int HeadDim(ConfigJson config, ModelFamily family, int hidden, int heads)
    {
        // Qwen3's class has 128 as its default; the others divide the hidden size.
        int otherwise = family == ModelFamily.Qwen3 ? 128 : hidden % heads == 0 ? hidden / heads : 0;
        int headDim = config.Int("head_dim", config.Int("attention_head_dim", otherwise, 1, 4096), 1, 4096);
        return headDim switch
        {
            0 => throw config.Wrong($"hidden_size {hidden} is not a multiple of num_attention_heads {heads}, and head_dim is missing"),
            > 0 when headDim % 2 == 0 && (long)headDim * heads <= MaxSize => headDim,
            _ => throw config.Unsupported($"heads of {headDim} numbers are not supported; they must be even, and all {heads} heads "
                + $"of a layer together at most {MaxSize}"),
        };
    }

    static int[] Windows(ConfigJson config, ModelFamily family, int layers, int window)
    {
        int[] windows = new int[layers];
        if (config.Texts("layer_types") is string[] types)
        {
            if (types.Length != layers)
            {
                throw config.Wrong($"layer_types has {types.Length} entries for {layers} layers");
            }
            for (int i = 0; i < layers; i++)
            {
                windows[i] = types[i] switch
                {
                    "full_attention" => 0,
                    "sliding_attention" when window > 0 => window,
                    "sliding_attention" => throw config.Wrong(
                        $"layer {i} is sliding_attention, but no sliding_window is in use"),
                    _ => throw config.Unsupported($"layer {i} is of type '{SafetensorsHeader.Printable(types[i])}'; supported are "
                        + "full_attention and sliding_attention"),
                };
            }
        }
        else if (window > 0)
        {
            // Qwen: the first max_window_layers see everything.
            int full = family is ModelFamily.Qwen2 or ModelFamily.Qwen3
                ? config.Int("max_window_layers", 28, 0, int.MaxValue)
                : 0;
            Array.Fill(windows, window, Math.Min(full, layers), Math.Max(0, layers - full));
        }
        return windows;
    }

    static ModelConfig GptNeo(ConfigJson config, string architecture)
    {
        int hidden = config.Int("hidden_size", 1, MaxSize);
        int layers = config.Int("num_layers", 1, MaxLayers);
        int heads = config.Int("num_heads", 1, MaxSize);
        if (hidden % heads != 0 || hidden / heads % 2 != 0)
        {
            throw config.Wrong($"hidden_size {hidden} does not divide into {heads} heads of an even number");
        }
        int window = config.Int("window_size", 256, 1, int.MaxValue);
        string[] kinds = config.Texts("attention_layers") ?? ExpandAttentionTypes(config, layers);
        if (kinds.Length != layers)
        {
            throw config.Wrong($"the attention layers are {kinds.Length}, num_layers is {layers}");
        }
        return new()
        {
            Family = ModelFamily.GptNeo,
            Architecture = architecture,
            HiddenSize = hidden,
            Layers = layers,
            Heads = heads,
            KvHeads = heads,
            HeadDim = hidden / heads,
            MlpSize = config.Int("intermediate_size", 4 * hidden, 1, MaxSize),
            Vocabulary = config.Int("vocab_size", 1, MaxSize),
            MaxPositions = config.Int("max_position_embeddings", 1, MaxSize),
            Norm = NormKind.Layer,
            NormEpsilon = (float)config.Positive("layer_norm_epsilon", 1e-5),
            Rope = null,
            Activation = ActivationOf(config, "activation_function", "gelu_new"),
            GatedMlp = false,
            OutputBias = true,
            MlpBias = true,
            AttentionScale = 1,
            Windows = [.. kinds.Select((kind, i) => kind switch
            {
                "global" => 0,
                "local" => window,
                _ => throw config.Unsupported($"attention layer {i} is '{SafetensorsHeader.Printable(kind)}'; supported are global and local"),
            })],
            TiedHead = config.Bool("tie_word_embeddings", true),
            SharingMap = config.Text("layer_types"),
            SharingWindow = window,
            ForceStrictlyEarlier = config.Bool("force_nodiag", false),
            ForwardPasses = config.Int("forward_passes", 7, 0, 1000),
            BackwardPasses = config.Int("backward_passes", 2, 0, 1000),
        };
    }

    /// <summary>[[["global", "local"], 12]] = twelve times global, local.</summary>
    static string[] ExpandAttentionTypes(ConfigJson config, int layers)
    {
        if (config.Find("attention_types") is not JsonElement types)
        {
            return [.. Enumerable.Range(0, layers).Select(i => i % 2 == 0 ? "global" : "local")];
        }
        var kinds = new List<string>();
        try
        {
            foreach (JsonElement group in types.EnumerateArray())
            {
                string[] pattern = [.. group[0].EnumerateArray().Select(kind => kind.GetString() ?? "")];
                for (int times = group[1].GetInt32(); times > 0 && pattern.Length > 0; times--)
                {
                    if (kinds.Count > layers)
                    {
                        return [.. kinds];
                    }
                    kinds.AddRange(pattern);
                }
            }
        }
        catch (Exception error) when (error is InvalidOperationException or FormatException or IndexOutOfRangeException)
        {
            throw config.Wrong("attention_types", types, "a list like [[[\"global\", \"local\"], 12]]");
        }
        return [.. kinds];
    }

    static Activation ActivationOf(ConfigJson config, string field, string otherwise)
    {
        string name = config.Text(field) ?? otherwise;
        return name switch
        {
            "silu" or "swish" => Activation.Silu,
            "gelu_new" or "gelu_pytorch_tanh" or "gelu_fast" => Activation.GeluTanh,
            "gelu" => Activation.Gelu,
            "relu" => Activation.Relu,
            _ => throw config.Unsupported($"the activation '{SafetensorsHeader.Printable(name)}' ({field}) is not supported; "
                + "supported are silu, gelu, gelu_new, gelu_pytorch_tanh and relu"),
        };
    }
}
