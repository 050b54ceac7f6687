// Gemma 3: two ropes, five of six layers behind a window; also the text part of the models that see images.
namespace KvCuda.Weights.Families;

/// <summary>Gemma 3 text.</summary>
static class Gemma3
{
    public static Family Family { get; } = new(ModelFamily.Gemma3, "Gemma3ForCausalLM", "gemma3_text", GemmaFields.Names, Read,
        "final_logit_softcapping");

    public static Family Nested { get; } = Family with
    {
        Architecture = "Gemma3ForConditionalGeneration", ModelType = "gemma3", IsNested = true,
    };

    static ModelConfig Read(FamilyFields fields)
    {
        ConfigJson config = fields.Config;
        GemmaFields.RefuseBidirectional(fields);
        (int layers, int heads, int kvHeads) = GemmaFields.Counts(fields, 26, 8, 4);
        int headDim = fields.CheckedHeadDim(config.Int("head_dim", 256, 1, 4096), heads);
        int window = config.Int("sliding_window", 4096, 1, int.MaxValue);
        int maxPositions = config.Int("max_position_embeddings", 131072, 1, int.MaxValue);
        LayerConfig shape = new(heads, kvHeads, headDim, config.Int("intermediate_size", 9216, 1, FamilyFields.MaxSize));
        int[] windows = fields.WindowsByPattern(layers, window, config.Int("sliding_window_pattern", 6, 1, int.MaxValue));
        return GemmaFields.Base(fields, [.. windows.Select(w => shape with { Window = w, Rope = w > 0 ? 1 : 0 })],
            GemmaFields.Ropes(fields, headDim, maxPositions), 262208, 2304, 131072, window) with
        {
            NormPlusOne = true,
            HeadNorm = HeadNorm.BeforeRope,
            AttentionScale = 1 / MathF.Sqrt(fields.Factor("query_pre_attn_scalar", 256)),
            LogitCap = fields.Cap("final_logit_softcapping"),
        };
    }
}
