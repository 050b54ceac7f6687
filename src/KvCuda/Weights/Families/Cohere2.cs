// Cohere2 (Command R7B): one layer norm before attention and MLP side by side; full layers without rotary positions.
namespace KvCuda.Weights.Families;

/// <summary>Command R7B.</summary>
static class Cohere2
{
    public static Family Family { get; } =
        new(ModelFamily.Cohere2, "Cohere2ForCausalLM", "cohere2", Llama.Names, Read, "logit_scale");

    static ModelConfig Read(FamilyFields fields)
    {
        ConfigJson config = fields.Config;
        fields.RefuseTrue("use_qk_norm", "head norms");
        int pattern = config.Int("sliding_window_pattern", 4, 1, int.MaxValue);
        ModelConfig model = fields.LlamaLike(tied: true, windows: (layers, window) => fields.WindowsByPattern(
            layers, window > 0 ? window : 4096, pattern));
        return model with
        {
            Norm = NormKind.Layer,
            NormBias = false,
            NormEpsilon = (float)config.Positive("layer_norm_eps", 1e-5),
            ParallelBlock = true,
            NeighbourRotation = true,
            LogitScale = fields.Factor("logit_scale", 0.0625),
            LayerConfigs = [.. model.LayerConfigs.Select(layer => layer with { Rope = layer.Window > 0 ? 0 : -1 })],
        };
    }
}
