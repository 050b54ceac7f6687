// Llama, and LCKV's Llama with a sharing map. Most other families begin from its names and fields.
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Llama 1 to 3 and LCKV's Llama.</summary>
static class Llama
{
    public static readonly TensorNames Names = new(["model."], "layers.{0}.", "lm_head.weight",
        new Dictionary<TensorRole, string>
        {
            [Embedding] = "embed_tokens.weight",
            [FinalNorm] = "norm.weight",
        },
        new Dictionary<TensorRole, string>
        {
            [AttentionNorm] = "input_layernorm.weight",
            [Query] = "self_attn.q_proj.weight",
            [QueryBias] = "self_attn.q_proj.bias",
            [Key] = "self_attn.k_proj.weight",
            [KeyBias] = "self_attn.k_proj.bias",
            [Value] = "self_attn.v_proj.weight",
            [ValueBias] = "self_attn.v_proj.bias",
            [QueryNorm] = "self_attn.q_norm.weight",
            [KeyNorm] = "self_attn.k_norm.weight",
            [Output] = "self_attn.o_proj.weight",
            [OutputBias] = "self_attn.o_proj.bias",
            [MlpNorm] = "post_attention_layernorm.weight",
            [Gate] = "mlp.gate_proj.weight",
            [GateBias] = "mlp.gate_proj.bias",
            [Up] = "mlp.up_proj.weight",
            [UpBias] = "mlp.up_proj.bias",
            [Down] = "mlp.down_proj.weight",
            [DownBias] = "mlp.down_proj.bias",
        });

    public static Family Family { get; } = new(ModelFamily.Llama, "LlamaForCausalLM", "llama", Names, fields => fields.LlamaLike());

    public static Family Lckv { get; } =
        new(ModelFamily.LckvLlama, "LCKVLlamaForCausalLM", "lckv-llama", Names, fields => fields.LlamaLike());

    /// <summary>The table with some names replaced or added.</summary>
    public static TensorNames With(params (TensorRole Role, string Name)[] names)
    {
        var perLayer = new Dictionary<TensorRole, string>(Names.PerLayer);
        foreach ((TensorRole role, string name) in names)
        {
            perLayer[role] = name;
        }
        return Names with { PerLayer = perLayer };
    }
}
