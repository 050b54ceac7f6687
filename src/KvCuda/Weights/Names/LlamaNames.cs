using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Names;

/// <summary>Llama, LCKV-Llama, Mistral and Qwen2 name alike.</summary>
static class LlamaNames
{
    public static readonly TensorNames Table = new("model.", "layers.{0}.", "lm_head.weight",
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
}
