// GPT-Neo: learned positions, layer norms, an MLP without gate. Its linear layers are stored (outputs, inputs), unlike GPT-2's.
using System.Text.Json;
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>GPT-Neo.</summary>
static class GptNeo
{
    static readonly TensorNames Names = new(["transformer."], "h.{0}.", "lm_head.weight",
        new Dictionary<TensorRole, string>
        {
            [Embedding] = "wte.weight",
            [PositionEmbedding] = "wpe.weight",
            [FinalNorm] = "ln_f.weight",
            [FinalNormBias] = "ln_f.bias",
        },
        new Dictionary<TensorRole, string>
        {
            [AttentionNorm] = "ln_1.weight",
            [AttentionNormBias] = "ln_1.bias",
            [Query] = "attn.attention.q_proj.weight",
            [Key] = "attn.attention.k_proj.weight",
            [Value] = "attn.attention.v_proj.weight",
            [Output] = "attn.attention.out_proj.weight",
            [OutputBias] = "attn.attention.out_proj.bias",
            [MlpNorm] = "ln_2.weight",
            [MlpNormBias] = "ln_2.bias",
            [Up] = "mlp.c_fc.weight",
            [UpBias] = "mlp.c_fc.bias",
            [Down] = "mlp.c_proj.weight",
            [DownBias] = "mlp.c_proj.bias",
        });

    public static Family Family { get; } = new(ModelFamily.GptNeo, "GPTNeoForCausalLM", "gpt_neo", Names, Read);

    static ModelConfig Read(FamilyFields fields)
    {
        ConfigJson config = fields.Config;
        int hidden = fields.Size("hidden_size"), layers = config.Int("num_layers", 1, FamilyFields.MaxLayers);
        int heads = fields.Size("num_heads");
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
        LayerConfig shape = new(heads, heads, hidden / heads, config.Int("intermediate_size", 4 * hidden, 1, FamilyFields.MaxSize))
        {
            Rope = -1,
        };
        return new()
        {
            Family = ModelFamily.GptNeo,
            Architecture = fields.Family.Architecture,
            HiddenSize = hidden,
            LayerConfigs = [.. kinds.Select((kind, i) => shape with
            {
                Window = kind switch
                {
                    "global" => 0,
                    "local" => window,
                    _ => throw config.Unsupported(
                        $"attention layer {i} is '{SafetensorsHeader.Printable(kind)}'; supported are global and local"),
                },
            })],
            Vocabulary = fields.Size("vocab_size"),
            MaxPositions = config.Int("max_position_embeddings", 1, FamilyFields.MaxSize),
            Norm = NormKind.Layer,
            NormBias = true,
            NormEpsilon = (float)config.Positive("layer_norm_epsilon", 1e-5),
            Ropes = [],
            Activation = fields.Activation("gelu_new", "activation_function"),
            GatedMlp = false,
            OutputBias = true,
            MlpBias = true,
            AttentionScale = 1,
            TiedHead = fields.Tied(true),
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
}
