// From config.json to a ModelConfig: which family reads it, and what is the same for all.
using KvCuda.Tensors;
using KvCuda.Weights.Families;

namespace KvCuda.Weights;

/// <summary>Finds the family of a config and lets it read.</summary>
static class ModelConfigReader
{
    /// <summary>The architectures by name.</summary>
    public static IEnumerable<string> Architectures => Family.All.Select(family => family.Architecture);

    /// <summary>Reads a config.</summary>
    public static ModelConfig Read(ConfigJson config)
    {
        Family family = FamilyOf(config);
        ConfigJson text = !family.IsNested ? config : config.Object("text_config")
            ?? throw config.Wrong("text_config is missing; it holds the sizes of the text model");
        Refusals.Check(text, family.Understands);
        if (family.IsNested)
        {
            Refusals.Check(config);
        }
        ModelConfig model = family.Read(new(text, config, family));
        string? type = text.Text("torch_dtype") ?? text.Text("dtype") ?? config.Text("torch_dtype") ?? config.Text("dtype");
        return model with
        {
            Type = type switch
            {
                null or "auto" => null,
                "float32" => DType.F32,
                "float16" => DType.F16,
                "bfloat16" => DType.BF16,
                _ => throw config.Unsupported($"weights of type '{SafetensorsHeader.Printable(type)}' are not supported; "
                    + "supported are float32, float16 and bfloat16"),
            },
        };
    }

    static Family FamilyOf(ConfigJson config)
    {
        string? architecture = config.Texts("architectures")?.FirstOrDefault();
        string? modelType = config.Text("model_type");
        return Family.All.FirstOrDefault(family => architecture is null ? family.ModelType == modelType : family.Architecture == architecture)
            ?? throw config.Unsupported($"the architecture '{SafetensorsHeader.Printable(architecture ?? modelType ?? "(none)")}' is not "
                + $"supported; supported are {string.Join(", ", Architectures)}");
    }
}
