using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Names;

/// <summary>GPT-Neo: its linear layers are stored (outputs, inputs), unlike GPT-2's.</summary>
static class GptNeoNames
{
    public static readonly TensorNames Table = new("transformer.", "h.{0}.", "lm_head.weight",
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
}
