using System.Text.Json;

namespace KvCuda.Weights;

/// <summary>
/// Fields of a config that change the computation and that KvCuda does not implement. A model that uses one is refused
/// by name instead of being computed wrongly.
/// </summary>
static class Refusals
{
    /// <summary>Any value but null, false, 0, an empty list or an empty object.</summary>
    static readonly (string Field, string Meaning)[] Unless0 =
    [
        ("quantization_config", "quantised weights"),
        ("compression_config", "compressed weights"),
        ("attn_logit_softcapping", "soft caps on attention scores"),
        ("final_logit_softcapping", "soft caps on logits"),
        ("logit_softcapping", "soft caps on logits"),
        ("kv_lora_rank", "latent attention (MLA)"),
        ("use_mla", "latent attention (MLA)"),
        ("use_mixed_mlp_moe", "experts (MoE)"),
        ("add_cross_attention", "cross-attention"),
        ("is_encoder_decoder", "an encoder"),
        ("attention_sinks", "learned attention sinks"),
        ("attn_output_gate", "gated attention outputs"),
        ("use_parallel_residual", "parallel residuals"),
        ("no_rope_layers", "layers without rotary positions"),
        ("attention_chunk_size", "chunked attention"),
    ];

    /// <summary>Any number but 1.</summary>
    static readonly (string Field, string Meaning)[] Unless1 =
    [
        ("num_experts", "experts (MoE)"),
        ("num_local_experts", "experts (MoE)"),
        ("n_routed_experts", "experts (MoE)"),
        ("embedding_multiplier", "scaled embeddings"),
        ("attention_multiplier", "a stated attention scale"),
        ("residual_multiplier", "scaled residuals"),
        ("logits_scaling", "scaled logits"),
        ("logit_scale", "scaled logits"),
    ];

    /// <param name="config">the text model's fields</param>
    /// <param name="understood">fields that its family computes with</param>
    /// <exception cref="UnsupportedModelException">The config uses one of them.</exception>
    public static void Check(ConfigJson config, params string[] understood)
    {
        foreach ((string field, string meaning) in Unless0)
        {
            if (config.Find(field) is JsonElement value && !IsNothing(value) && !understood.Contains(field))
            {
                throw config.Unsupported($"{field} asks for {meaning}, which KvCuda does not implement");
            }
        }
        foreach ((string field, string meaning) in Unless1)
        {
            if (config.Find(field) is JsonElement value && !IsNothing(value) && !IsOne(value) && !understood.Contains(field))
            {
                throw config.Unsupported($"{field} asks for {meaning}, which KvCuda does not implement");
            }
        }
    }

    static bool IsNothing(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.False => true,
        JsonValueKind.Number => value.TryGetDouble(out double number) && number == 0,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        _ => false,
    };

    /// <summary>1, or a list of ones (Hunyuan states some of these per layer).</summary>
    static bool IsOne(JsonElement value) => value.ValueKind == JsonValueKind.Array
        ? value.EnumerateArray().All(IsOne)
        : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && number == 1;
}
