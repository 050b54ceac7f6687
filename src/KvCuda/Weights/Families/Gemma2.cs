// Gemma 2: soft caps on scores and logits, every second layer behind a window.
namespace KvCuda.Weights.Families;

/// <summary>Gemma 2.</summary>
static class Gemma2
{
    public static Family Family { get; } = new(ModelFamily.Gemma2, "Gemma2ForCausalLM", "gemma2", GemmaFields.Names, Read,
        "attn_logit_softcapping", "final_logit_softcapping");

    static ModelConfig Read(FamilyFields fields)
    {
        ConfigJson config = fields.Config;
        (int layers, int heads, int kvHeads) = GemmaFields.Counts(fields, 26, 8, 4);
        int headDim = fields.CheckedHeadDim(config.Int("head_dim", 256, 1, 4096), heads);
        int window = config.Int("sliding_window", 4096, 1, int.MaxValue);
        LayerConfig shape = new(heads, kvHeads, headDim, config.Int("intermediate_size", 9216, 1, FamilyFields.MaxSize));
        int[] windows = fields.WindowsByPattern(layers, window, 2);
        Rope rope = Rope.Read(config, headDim, config.Int("max_position_embeddings", 8192, 1, int.MaxValue));
        return GemmaFields.Base(fields, [.. windows.Select(w => shape with { Window = w })], [rope], 256000, 2304, 8192, window) with
        {
            NormPlusOne = true,
            AttentionScale = 1 / MathF.Sqrt(fields.Factor("query_pre_attn_scalar", 256)),
            ScoreCap = fields.Cap("attn_logit_softcapping", 50),
            LogitCap = fields.Cap("final_logit_softcapping", 30),
        };
    }
}
