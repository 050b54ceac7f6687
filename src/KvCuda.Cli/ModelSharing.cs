using KvCuda.KvStore;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>The sharing map of a model folder, or the one asked for instead.</summary>
internal static class ModelSharing
{
    /// <summary>What the config says.</summary>
    public static LayerSharing Native(ModelConfig config) => LayerSharing.FromConfig(
        config.Layers, config.SharingWindow, config.SharingMap, config.ForceStrictlyEarlier,
        config.ClaShareFactor, config.SharedTailLayers, config.Windows);

    /// <summary>What was asked for with --sharing; null or "native": what the config says.</summary>
    public static LayerSharing Asked(ModelConfig config, string? text) => text is null or "native"
        ? Native(config)
        : LayerSharing.Parse(text, config.Layers, config.SharingWindow, config.Windows)
            .WithStrictlyEarlier(config.ForceStrictlyEarlier);

    /// <summary>The map as config.json states it ("" for standard with the architecture's windows) and its window.</summary>
    public static (string Map, int Window) ForConfig(ModelConfig config, LayerSharing sharing)
    {
        if (sharing.Equals(LayerSharing.Standard(config.Layers, config.Windows).WithStrictlyEarlier(sharing.ForceStrictlyEarlier)))
        {
            return ("", 0);
        }
        return (sharing.ToString(), Enumerable.Range(0, sharing.Layers).Max(sharing.Window));
    }
}
