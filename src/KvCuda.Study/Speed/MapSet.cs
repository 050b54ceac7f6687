// The maps of a study: the study's nine names at some numbers of owners, without duplicates, and maps of one's own.
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Weights;

namespace KvCuda.Study;

/// <summary>A map to be studied.</summary>
/// <param name="Sharing">parsed</param>
/// <param name="Experiment">what an engine is given; null: the model's own</param>
/// <param name="Names">every name it goes by</param>
/// <param name="Trained">the weights were trained with it</param>
internal sealed record StudyMap(LayerSharing Sharing, string? Experiment, string Names, bool Trained)
{
    static readonly string[] partitionings = ["pizza", "sandwich", "lasagna"], positions = ["bottom", "middle", "top"];

    /// <summary>The map in its own notation.</summary>
    public string Map => Sharing.ToString();

    /// <summary>The model's own map first, then standard, then the named ones at each number of owners, then one's own.</summary>
    /// <param name="config">the model</param>
    /// <param name="owners">numbers of layers that own keys and values; empty: a half and a quarter</param>
    /// <param name="own">further maps, by name or in the notation</param>
    /// <param name="random">the weights are random: no map is trained</param>
    /// <param name="named">include the nine names</param>
    public static IReadOnlyList<StudyMap> All(ModelConfig config, IReadOnlyList<int> owners, IReadOnlyList<string> own, bool random, bool named = true)
    {
        LayerSharing native = LoadedModel.SharingOf(config, null);
        List<StudyMap> maps = [new(native, null, string.Join(" = ", Short(native)), !random)];
        void Add(string text)
        {
            LayerSharing sharing = LoadedModel.SharingOf(config, text);
            // Weights of a layer that owned nothing in training are not in the file.
            if (sharing.Owners.All(native.Owns) && maps.TrueForAll(map => !map.Sharing.Equals(sharing)))
            {
                maps.Add(new(sharing, text, string.Join(" = ", Short(sharing)), false));
            }
        }
        if (named && native.IsStandard)
        {
            foreach (int count in owners.Count > 0 ? owners : [config.Layers / 2, config.Layers / 4])
            {
                if (count < 1 || count > config.Layers)
                {
                    throw new InvalidRequestException($"{count} layers cannot own keys and values: the model has {config.Layers}.");
                }
                foreach (string partitioning in partitionings)
                {
                    foreach (string position in positions)
                    {
                        Add($"{partitioning}-{position}:{count}");
                    }
                }
            }
        }
        foreach (string text in own)
        {
            LayerSharing asked = LoadedModel.SharingOf(config, text);
            if (asked.Owners.FirstOrDefault(layer => !native.Owns(layer), -1) is >= 0 and int missing)
            {
                throw new InvalidRequestException($"The map {text} needs keys and values of layer {missing}, which this model's file does not have.");
            }
            Add(text);
        }
        return maps;
    }

    static IEnumerable<string> Short(LayerSharing sharing) => sharing.Names().DefaultIfEmpty(sharing.ToString()).Take(3);
}
