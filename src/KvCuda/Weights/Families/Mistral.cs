// Mistral: Llama behind one window.
namespace KvCuda.Weights.Families;

/// <summary>Mistral 7B and its descendants.</summary>
static class Mistral
{
    public static Family Family { get; } = new(ModelFamily.Mistral, "MistralForCausalLM", "mistral", Llama.Names, Read);

    static ModelConfig Read(FamilyFields fields) => fields.LlamaLike(windows: (layers, window) =>
        fields.WindowsByType(layers, window) ?? [.. Enumerable.Repeat(window, layers)]);
}
