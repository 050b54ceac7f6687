// Qwen3: Llama with a norm on every query and key head.
namespace KvCuda.Weights.Families;

/// <summary>Qwen3, dense.</summary>
static class Qwen3
{
    public static Family Family { get; } = new(ModelFamily.Qwen3, "Qwen3ForCausalLM", "qwen3", Llama.Names, Read);

    /// <summary>128 is the default of the config's class for a head.</summary>
    public static ModelConfig Read(FamilyFields fields) =>
        fields.LlamaLike(headDim: 128, windows: (layers, window) => Qwen2.Windows(fields, layers, window)) with
        {
            HeadNorm = HeadNorm.BeforeRope,
        };
}
