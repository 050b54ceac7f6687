// Mixtral: Mistral whose MLP is two of eight experts.
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Mixtral 8x7B and 8x22B.</summary>
static class Mixtral
{
    static readonly TensorNames Names = Llama.With(
        (Router, "block_sparse_moe.gate.weight"),
        (ExpertGate, "block_sparse_moe.experts.{0}.w1.weight"),
        (ExpertUp, "block_sparse_moe.experts.{0}.w3.weight"),
        (ExpertDown, "block_sparse_moe.experts.{0}.w2.weight"));

    public static Family Family { get; } =
        new(ModelFamily.Mixtral, "MixtralForCausalLM", "mixtral", Names, Read, "num_local_experts");

    static ModelConfig Read(FamilyFields fields)
    {
        ModelConfig model = fields.LlamaLike(1e-5, theta: 1e6, windows: (layers, window) => [.. Enumerable.Repeat(window, layers)]);
        Experts experts = Experts.Read(fields.Config, "num_local_experts", 8, "num_experts_per_tok", 2, "intermediate_size", 14336);
        return model with
        {
            Experts = experts with { Renormalise = true },
            LayerConfigs = [.. model.LayerConfigs.Select(layer => layer with { HasExperts = true, MlpSize = 0 })],
        };
    }
}
