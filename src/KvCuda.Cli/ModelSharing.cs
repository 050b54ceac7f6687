using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>The sharing map of a model folder, or the one asked for instead.</summary>
internal static class ModelSharing
{
    /// <summary>What the config says.</summary>
    public static LayerSharing Native(ModelConfig config) => LoadedModel.SharingOf(config, null);

    /// <summary>What was asked for with --sharing; null or "native": what the config says.</summary>
    public static LayerSharing Asked(ModelConfig config, string? text) => LoadedModel.SharingOf(config, text);

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
