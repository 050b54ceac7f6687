// Phi-3, Phi-3.5 and Phi-4-mini: Llama with fused projections, partial rotation and two lists of rotary factors.
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Phi-3 and its descendants.</summary>
static class Phi3
{
    static readonly TensorNames Names = Llama.Names with { Fused = Part };

    public static Family Family { get; } = new(ModelFamily.Phi3, "Phi3ForCausalLM", "phi3", Names, Read);

    // qkv_proj holds the rows of queries, keys and values; gate_up_proj those of the gate, then those of up.
    static FusedPart? Part(ModelConfig config, TensorRole role, int layer, int index)
    {
        if (layer < 0)
        {
            return null;
        }
        LayerConfig l = config.LayerConfigs[layer];
        FusedPart qkv = new("self_attn.qkv_proj.weight", new(l.QuerySize + 2 * l.KvSize, config.HiddenSize), 0);
        FusedPart gateUp = new("mlp.gate_up_proj.weight", new(2 * l.MlpSize, config.HiddenSize), 0);
        return role switch
        {
            Query => qkv,
            Key => qkv with { FirstRow = l.QuerySize },
            Value => qkv with { FirstRow = l.QuerySize + l.KvSize },
            Gate => gateUp,
            Up => gateUp with { FirstRow = l.MlpSize },
            _ => null,
        };
    }

    static ModelConfig Read(FamilyFields fields)
    {
        fields.RefuseTrue("attention_bias", "biases in fused projections");
        ModelConfig model = fields.LlamaLike(1e-5, windows: (layers, window) => [.. Enumerable.Repeat(window, layers)]);
        return model;
    }
}
