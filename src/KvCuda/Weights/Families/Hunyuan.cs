// Hunyuan: Llama with head norms after the rotation, and cross-layer attention.
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Hunyuan, dense.</summary>
static class Hunyuan
{
    static readonly TensorNames Names = Llama.With(
        (QueryNorm, "self_attn.query_layernorm.weight"), (KeyNorm, "self_attn.key_layernorm.weight"));

    public static Family Family { get; } = new(ModelFamily.Hunyuan, "HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", Names,
        fields => fields.LlamaLike(epsilon: 1e-5) with
        {
            HeadNorm = fields.Config.Bool("use_qk_norm", true) ? HeadNorm.AfterRope : HeadNorm.None,
        });
}
