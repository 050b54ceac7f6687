// SmolLM3: Llama, some layers without rotary positions.
using System.Text.Json;

namespace KvCuda.Weights.Families;

/// <summary>SmolLM3.</summary>
static class SmolLm3
{
    public static Family Family { get; } =
        new(ModelFamily.SmolLm3, "SmolLM3ForCausalLM", "smollm3", Llama.Names, Read, "no_rope_layers");

    static ModelConfig Read(FamilyFields fields)
    {
        ConfigJson config = fields.Config;
        bool slides = config.Bool("use_sliding_window", false);
        ModelConfig model = fields.LlamaLike(tied: true, theta: 2e6,
            windows: (layers, window) => fields.WindowsByType(layers, slides ? window : 0) ?? new int[layers]);
        int interval = config.Int("no_rope_layer_interval", 4, 1, int.MaxValue);
        bool[] rotates = config.Find("no_rope_layers") is { ValueKind: JsonValueKind.Array } list
            ? [.. list.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int one)
                ? one != 0 : throw config.Wrong("no_rope_layers", list, "a list of 0 and 1"))]
            : [.. Enumerable.Range(0, model.Layers).Select(layer => (layer + 1) % interval != 0)];
        if (rotates.Length != model.Layers)
        {
            throw config.Wrong($"no_rope_layers has {rotates.Length} entries for {model.Layers} layers");
        }
        if (slides && config.Texts("layer_types") is null)
        {
            throw config.Unsupported("use_sliding_window without layer_types is not supported for SmolLM3ForCausalLM");
        }
        // The field says 1 where a layer has rotary positions.
        return model with
        {
            LayerConfigs = [.. model.LayerConfigs.Select((layer, i) => layer with { Rope = rotates[i] ? 0 : -1 })],
        };
    }
}
