// The objects that state rope parameters: where they are, which type they name, and that every field in them is known.
using System.Text.Json;

namespace KvCuda.Weights;

/// <summary>
/// rope_scaling and rope_parameters are small closed objects whose every field changes every key, so a field that is not known
/// (misspelt, or new) is refused by name.
/// </summary>
static class RopeFields
{
    static readonly HashSet<string> Known = new(StringComparer.Ordinal)
    {
        "rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings", "attention_factor",
        "beta_fast", "beta_slow", "low_freq_factor", "high_freq_factor", "short_factor", "long_factor", "mscale", "mscale_all_dim",
        "truncate", "alpha",
        // older YaRN files state whether the weights were trained with it
        "finetuned",
    };

    static readonly HashSet<string> Types = new(StringComparer.Ordinal)
    {
        "default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional",
    };

    /// <summary>
    /// The object that counts, or null. rope_parameters (transformers 5) holds what rope_theta and rope_scaling held before;
    /// a rope_scaling beside plain rope_parameters is the published recipe for a longer context, and wins.
    /// </summary>
    public static ConfigJson? Find(ConfigJson config)
    {
        ConfigJson? parameters = config.Object("rope_parameters"), scaling = config.Object("rope_scaling");
        if (parameters is null || scaling is null)
        {
            return parameters ?? scaling;
        }
        if (JsonElement.DeepEquals(config.Find("rope_parameters")!.Value, config.Find("rope_scaling")!.Value))
        {
            return parameters;
        }
        bool plain = !parameters.Names.Except(["rope_type", "type", "rope_theta", "partial_rotary_factor"]).Any()
            && (parameters.Text("rope_type") ?? parameters.Text("type") ?? "default") == "default";
        return plain ? scaling : throw config.Wrong("rope_parameters and rope_scaling are both there and state different things");
    }

    /// <summary>The base of the frequencies, where the scaling object does not state it.</summary>
    public static double Theta(ConfigJson config, double otherwise)
    {
        ConfigJson? parameters = config.Object("rope_parameters");
        return parameters?.Find("rope_theta") is { ValueKind: JsonValueKind.Number }
            ? parameters.Positive("rope_theta", otherwise)
            : config.Positive("rope_theta", otherwise);
    }

    /// <summary>Whether the object holds one object per layer type; then it may hold nothing else.</summary>
    public static bool IsNested(ConfigJson scaling, string[] layerTypes)
    {
        string[] names = [.. scaling.Names];
        if (!names.Any(name => scaling.Find(name) is { ValueKind: JsonValueKind.Object }))
        {
            return false;
        }
        foreach (string name in names)
        {
            if (!layerTypes.Contains(name) || scaling.Find(name) is { ValueKind: not JsonValueKind.Object })
            {
                throw scaling.Unsupported($"'{SafetensorsHeader.Printable(name)}' is not known beside parameters per layer type; known "
                    + $"are {string.Join(", ", layerTypes)}");
            }
        }
        return true;
    }

    /// <summary>The type that the object names, after its fields were found to be known ones.</summary>
    public static string TypeOf(ConfigJson scaling)
    {
        string? newer = scaling.Text("rope_type"), older = scaling.Text("type");
        if (scaling.Has("mrope_section"))
        {
            throw scaling.Unsupported("mrope_section asks for positions in several dimensions, which KvCuda does not implement");
        }
        if (newer is not null && older is not null && newer != older)
        {
            throw scaling.Wrong($"rope_type is '{SafetensorsHeader.Printable(newer)}', but type is '{SafetensorsHeader.Printable(older)}'");
        }
        string type = newer ?? older ?? "default";
        if (type == "su")
        {
            type = "longrope"; // the name in the first Phi-3 files
        }
        if (type == "yarn" && scaling.Has("short_factor"))
        {
            type = "longrope"; // so did some of them
        }
        if (!Types.Contains(type))
        {
            throw scaling.Unsupported($"the rope type '{SafetensorsHeader.Printable(type)}' is not supported; supported are "
                + string.Join(", ", Types));
        }
        foreach (string name in scaling.Names)
        {
            if (!Known.Contains(name) && scaling.Has(name))
            {
                throw scaling.Unsupported($"the field '{SafetensorsHeader.Printable(name)}' is not known; known are "
                    + string.Join(", ", Known));
            }
        }
        if (type == "default" && scaling.Number("factor", 1) != 1)
        {
            throw scaling.Wrong("factor is there, but " + (newer ?? older) switch
            {
                null => "no rope_type says what it scales; add \"rope_type\": \"linear\", \"yarn\" or what the model card says",
                _ => "the rope_type is default, which scales nothing",
            });
        }
        return type;
    }
}
