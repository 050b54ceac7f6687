// Granite: Llama with four multipliers.
namespace KvCuda.Weights.Families;

/// <summary>Granite 3 and 4, dense.</summary>
static class Granite
{
    public static Family Family { get; } = new(ModelFamily.Granite, "GraniteForCausalLM", "granite", Llama.Names,
        fields => fields.LlamaLike() with
        {
            EmbeddingScale = fields.Factor("embedding_multiplier"),
            AttentionScale = fields.Factor("attention_multiplier"),
            ResidualScale = fields.Factor("residual_multiplier"),
            LogitScale = 1 / fields.Factor("logits_scaling"),
        },
        "embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling");
}
