// Gemma 4: wider heads in full layers, shared keys and values, per-layer embeddings, keys as values, experts.
using System.Text.Json;
using KvCuda.Tensors;
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Gemma 4 text.</summary>
static class Gemma4
{
    static readonly TensorNames Table = GemmaFields.WithPerLayerInputs(GemmaFields.Names);

    static readonly TensorNames Names = Table with
    {
        PerLayer = new Dictionary<TensorRole, string>(Table.PerLayer)
        {
            [LayerScalar] = "layer_scalar",
            [Router] = "router.proj.weight",
            [RouterScale] = "router.scale",
            [ExpertScale] = "router.per_expert_scale",
            [ExpertGate] = "experts.{0}.gate_proj.weight",
            [ExpertUp] = "experts.{0}.up_proj.weight",
            [ExpertDown] = "experts.{0}.down_proj.weight",
            [DenseNorm] = "post_feedforward_layernorm_1.weight",
            [ExpertNorm] = "pre_feedforward_layernorm_2.weight",
            [PostExpertNorm] = "post_feedforward_layernorm_2.weight",
        },
        Fused = (config, role, _, expert) => Experts.Stacked(config, role, expert, "experts."),
    };

    public static Family Family { get; } = new(ModelFamily.Gemma4, "Gemma4ForCausalLM", "gemma4_text", Names, Read,
        "final_logit_softcapping", "num_experts");

    public static Family Nested { get; } = Family with
    {
        Architecture = "Gemma4ForConditionalGeneration", ModelType = "gemma4", IsNested = true,
    };

    static ModelConfig Read(FamilyFields fields)
    {
        ConfigJson config = fields.Config;
        GemmaFields.RefuseBidirectional(fields, "vision");
        (int layers, int heads, int kvHeads) = GemmaFields.Counts(fields, 30, 8, 4);
        int headDim = fields.CheckedHeadDim(config.Int("head_dim", 256, 1, 4096), heads);
        int fullDim = fields.CheckedHeadDim(config.Int("global_head_dim", 512, 1, 4096), heads);
        bool keyIsValue = config.Bool("attention_k_eq_v", false);
        int fullKv = keyIsValue && config.Has("num_global_key_value_heads")
            ? fields.KvHeads(heads, config.Int("num_global_key_value_heads", 1, FamilyFields.MaxSize)) : kvHeads;
        int window = config.Int("sliding_window", 512, 1, int.MaxValue), mlp = config.Int("intermediate_size", 9216, 1, FamilyFields.MaxSize);
        int maxPositions = config.Int("max_position_embeddings", 131072, 1, int.MaxValue);
        int[] windows = fields.WindowsByPattern(layers, window, 6);
        windows[^1] = 0; // whatever the list says
        int shared = config.Int("num_kv_shared_layers", 0, 0, FamilyFields.MaxLayers);
        bool wide = config.Bool("use_double_wide_mlp", false), experts = config.Bool("enable_moe_block", false);
        LayerConfig[] shapes = [.. windows.Select((w, i) =>
            new LayerConfig(heads, w > 0 ? kvHeads : fullKv, w > 0 ? headDim : fullDim, wide && shared > 0 && i >= layers - shared ? 2 * mlp : mlp)
            {
                Window = w, Rope = w > 0 ? 1 : 0, KeyIsValue = keyIsValue && w == 0, HasExperts = experts,
            })];
        shapes = PerLayer(fields, shapes);
        fullDim = shapes.Last(shape => shape.Window == 0).HeadDim;
        Rope[] ropes = config.Has("rope_parameters")
            ?
            [
                Rope.Read(config, fullDim, maxPositions, "full_attention", 1e6),
                windows.Any(w => w > 0) ? Rope.Read(config, headDim, maxPositions, "sliding_attention") : Rope.Plain(10000, headDim),
            ]
            : [Rope.Proportional(1e6, fullDim, 0.25), Rope.Plain(10000, headDim)];
        ModelConfig model = GemmaFields.Base(fields, shapes, ropes, 262144, 2304, 131072, window);
        return model with
        {
            HeadNorm = HeadNorm.BeforeRope,
            ValueNorm = true,
            LayerScalar = true,
            LogitCap = fields.Cap("final_logit_softcapping"),
            PerLayerInputs = GemmaFields.Inputs(fields, model.Vocabulary),
            Experts = !experts ? null : Experts.Read(config, "num_experts", 128, "top_k_experts", 8, "moe_intermediate_size", 704) with
            {
                Renormalise = true, BesideMlp = true,
            },
        };
    }

    // Newer files state what differs by layer: {"5": {"head_dim": 512, "num_key_value_heads": 1}}.
    static LayerConfig[] PerLayer(FamilyFields fields, LayerConfig[] shapes)
    {
        if (fields.Config.Object("per_layer_config") is not { } layers)
        {
            return shapes;
        }
        foreach (string name in layers.Names)
        {
            if (!int.TryParse(name, out int layer) || layer < 0 || layer >= shapes.Length || layers.Object(name) is not { } own)
            {
                throw layers.Wrong($"'{SafetensorsHeader.Printable(name)}' is no layer of {shapes.Length}");
            }
            LayerConfig shape = shapes[layer];
            int dim = fields.CheckedHeadDim(own.Int("head_dim", shape.HeadDim, 1, 4096), shape.Heads);
            shapes[layer] = shape with
            {
                HeadDim = dim,
                KvHeads = fields.KvHeads(shape.Heads, own.Int("num_key_value_heads", shape.KvHeads, 1, FamilyFields.MaxSize)),
            };
            if (own.Names.Except(["head_dim", "num_key_value_heads"]).FirstOrDefault() is { } other)
            {
                throw own.Unsupported($"{SafetensorsHeader.Printable(other)} of a single layer is not supported; "
                    + "supported are head_dim and num_key_value_heads");
            }
        }
        foreach (var kind in shapes.GroupBy(shape => shape.Window > 0))
        {
            if (kind.Select(shape => shape.HeadDim).Distinct().Count() > 1)
            {
                throw layers.Unsupported("layers of one type with different head_dim are not supported");
            }
        }
        return shapes;
    }
}
