// Qwen2: Llama with biases on queries, keys and values.
namespace KvCuda.Weights.Families;

/// <summary>Qwen2 and Qwen2.5.</summary>
static class Qwen2
{
    public static Family Family { get; } = new(ModelFamily.Qwen2, "Qwen2ForCausalLM", "qwen2", Llama.Names,
        fields => fields.LlamaLike(windows: (layers, window) => Windows(fields, layers, window)) with
        {
            QkvBias = true,
            OutputBias = false,
        });

    /// <summary>By layer_types, or else the first max_window_layers see everything; only if use_sliding_window says so.</summary>
    public static int[] Windows(FamilyFields fields, int layers, int window)
    {
        window = fields.Config.Bool("use_sliding_window", false) ? window : 0;
        int[]? byType = fields.WindowsByType(layers, window);
        int full = fields.Config.Int("max_window_layers", 28, 0, int.MaxValue);
        return byType ?? [.. Enumerable.Range(0, layers).Select(layer => layer < full ? 0 : window)];
    }
}
