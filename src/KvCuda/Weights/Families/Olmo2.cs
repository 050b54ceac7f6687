// OLMo 2: norms behind attention and MLP instead of before them, and one norm over all heads together.
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>OLMo 2.</summary>
static class Olmo2
{
    static readonly TensorNames Names = Llama.With(
        (PostAttentionNorm, "post_attention_layernorm.weight"), (PostMlpNorm, "post_feedforward_layernorm.weight"));

    public static Family Family { get; } = new(ModelFamily.Olmo2, "Olmo2ForCausalLM", "olmo2", Names,
        fields => fields.LlamaLike(1e-5) with { PreNorms = false, PostNorms = true, HeadNorm = HeadNorm.Whole });
}
