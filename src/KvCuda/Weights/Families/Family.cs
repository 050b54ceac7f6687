// The families of models: each is one file of this folder, and stands in one table.
namespace KvCuda.Weights.Families;

/// <summary>A way of naming tensors and reading configs. What its layers compute is what the config it reads says.</summary>
/// <param name="Id">its name in code, which is also its file's</param>
/// <param name="Architecture">as in config.json's architectures</param>
/// <param name="ModelType">as in config.json's model_type</param>
/// <param name="Names">its tensors' names</param>
/// <param name="Read">reads the part of config.json that describes the text model</param>
/// <param name="Understands">fields that other families are refused for</param>
sealed record Family(
    ModelFamily Id, string Architecture, string ModelType, TensorNames Names, Func<FamilyFields, ModelConfig> Read, params string[] Understands)
{
    /// <summary>Every architecture that is supported; some families have more than one.</summary>
    public static IReadOnlyList<Family> All { get; } =
    [
        Llama.Family, Llama.Lckv, Mistral.Family, Qwen2.Family, Qwen3.Family, Hunyuan.Family, GptNeo.Family,
        Gemma2.Family, Gemma3.Family, Gemma3.Nested, Gemma3n.Family, Gemma3n.Nested, Gemma4.Family, Gemma4.Nested,
        Phi3.Family, SmolLm3.Family, Granite.Family, Olmo2.Family, Cohere2.Family, Qwen3Moe.Family, Mixtral.Family,
    ];

    /// <summary>The first architecture of a family.</summary>
    public static Family Of(ModelFamily id) => All.First(family => family.Id == id);

    /// <summary>A nested config (text and images in one model) holds the text model in text_config.</summary>
    public bool IsNested { get; init; }
}
