// How a family names its tensors, and where in stored tensors a weight lies.
using KvCuda.Tensors;

namespace KvCuda.Weights.Families;

/// <summary>Where a weight lies in the files: a whole stored tensor, or some of its rows.</summary>
/// <param name="Name">the stored tensor's full name</param>
/// <param name="Stored">its shape; more than two dimensions are rows of the last one</param>
/// <param name="FirstRow">the weight's first row in it</param>
readonly record struct TensorSource(string Name, Shape Stored, long FirstRow = 0);

/// <summary>Some rows of a stored tensor that holds several weights: fused projections, stacked experts.</summary>
/// <param name="Name">the stored tensor's name after prefix and layer prefix</param>
/// <param name="Stored">its shape</param>
/// <param name="FirstRow">the weight's first row</param>
readonly record struct FusedPart(string Name, Shape Stored, long FirstRow);

/// <summary>How a family names its tensors in safetensors files.</summary>
/// <param name="Prefixes">what most names begin with, the usual one first; files without any (saved from the inner module) are read as well</param>
/// <param name="LayerPrefix">{0} is the layer</param>
/// <param name="Head">the output head's full name: it stands outside of the prefix</param>
/// <param name="Shared">names after the prefix; {0} is the index of a role that has several</param>
/// <param name="PerLayer">names after prefix and layer prefix; {0} as there</param>
sealed record TensorNames(
    IReadOnlyList<string> Prefixes, string LayerPrefix, string Head,
    IReadOnlyDictionary<TensorRole, string> Shared, IReadOnlyDictionary<TensorRole, string> PerLayer)
{
    /// <summary>Where a weight may lie besides under its own name; null: nowhere.</summary>
    public Func<ModelConfig, TensorRole, int, int, FusedPart?>? Fused { get; init; }

    /// <summary>The table of a family.</summary>
    public static TensorNames Of(ModelFamily family) => Family.Of(family).Names;

    /// <summary>The full name of a tensor.</summary>
    /// <param name="role">what it is for</param>
    /// <param name="layer">counts only for those of a layer</param>
    /// <param name="index">which of several, such as the expert</param>
    public string Of(TensorRole role, int layer, int index = -1) => role == TensorRole.Head
        ? Head
        : Prefixes[0] + (role.IsPerLayer()
            ? LayerName(layer) + Numbered(PerLayer[role], index)
            : Numbered(Shared[role], index));

    /// <summary>The places where a weight may lie, to be tried in this order.</summary>
    public IEnumerable<TensorSource> SourcesOf(ModelConfig config, TensorSpec spec)
    {
        foreach (string name in Spellings(spec.Name))
        {
            yield return new(name, spec.Shape);
        }
        if (Fused?.Invoke(config, spec.Role, spec.Layer, spec.Index) is { } part)
        {
            string fused = Prefixes[0] + (spec.Role.IsPerLayer() ? LayerName(spec.Layer) : "") + part.Name;
            foreach (string name in Spellings(fused))
            {
                yield return new(name, part.Stored, part.FirstRow);
            }
        }
    }

    // The name under every prefix that files of the family have been seen with, and under none.
    IEnumerable<string> Spellings(string name)
    {
        yield return name;
        if (name == Head)
        {
            foreach (string prefix in Prefixes.Where(prefix => prefix.StartsWith("language_model.", StringComparison.Ordinal)))
            {
                yield return "language_model." + Head;
            }
        }
        else if (name.StartsWith(Prefixes[0], StringComparison.Ordinal))
        {
            string rest = name[Prefixes[0].Length..];
            foreach (string prefix in Prefixes.Skip(1))
            {
                yield return prefix + rest;
            }
            yield return rest;
        }
    }

    string LayerName(int layer) => Numbered(LayerPrefix, layer);

    static string Numbered(string name, int number) => name.Replace("{0}", $"{number}", StringComparison.Ordinal);
}
