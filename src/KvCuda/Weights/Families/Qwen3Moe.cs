// Qwen3-MoE: Qwen3 whose MLP is some of many experts.
using KvCuda.Tensors;
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Qwen3-30B-A3B and the like.</summary>
static class Qwen3Moe
{
    static readonly TensorNames Names = Llama.With(
        (Router, "mlp.gate.weight"),
        (ExpertGate, "mlp.experts.{0}.gate_proj.weight"),
        (ExpertUp, "mlp.experts.{0}.up_proj.weight"),
        (ExpertDown, "mlp.experts.{0}.down_proj.weight")) with
        {
            Fused = (config, role, _, expert) => Experts.Stacked(config, role, expert, "mlp.experts."),
        };

    public static Family Family { get; } = new(ModelFamily.Qwen3Moe, "Qwen3MoeForCausalLM", "qwen3_moe", Names, Read, "num_experts");

    static ModelConfig Read(FamilyFields fields)
    {
        ModelConfig model = Qwen3.Read(fields);
        ConfigJson config = fields.Config;
        int step = config.Int("decoder_sparse_step", 1, 1, int.MaxValue);
        HashSet<int> dense = [.. config.TokenIds("mlp_only_layers")];
        Experts experts = Experts.Read(config, "num_experts", 128, "num_experts_per_tok", 8, "moe_intermediate_size", 768) with
        {
            Renormalise = config.Bool("norm_topk_prob", false),
        };
        return model with
        {
            Experts = experts,
            LayerConfigs = [.. model.LayerConfigs.Select((layer, i) => !dense.Contains(i) && (i + 1) % step == 0
                ? layer with { HasExperts = true, MlpSize = 0 }
                : layer)],
        };
    }
}
