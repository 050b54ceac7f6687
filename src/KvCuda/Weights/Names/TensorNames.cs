namespace KvCuda.Weights.Names;

/// <summary>How a family names its tensors in safetensors files.</summary>
/// <param name="Prefix">what most names begin with; files without it (saved from the inner module) are read as well</param>
/// <param name="LayerPrefix">{0} is the layer</param>
/// <param name="Head">the output head's full name: it stands outside of the prefix</param>
/// <param name="Shared">names after the prefix</param>
/// <param name="PerLayer">names after prefix and layer prefix</param>
sealed record TensorNames(
    string Prefix, string LayerPrefix, string Head,
    IReadOnlyDictionary<TensorRole, string> Shared, IReadOnlyDictionary<TensorRole, string> PerLayer)
{
    /// <summary>The table of a family.</summary>
    public static TensorNames Of(ModelFamily family) => family switch
    {
        ModelFamily.GptNeo => GptNeoNames.Table,
        ModelFamily.Qwen3 => Qwen3Names.Table,
        ModelFamily.Hunyuan => HunyuanNames.Table,
        _ => LlamaNames.Table,
    };

    /// <summary>The full name of a tensor; <paramref name="layer"/> counts only for those of a layer.</summary>
    public string Of(TensorRole role, int layer) => role == TensorRole.Head
        ? Head
        : role.IsPerLayer()
            ? $"{Prefix}{LayerPrefix.Replace("{0}", $"{layer}", StringComparison.Ordinal)}{PerLayer[role]}"
            : Prefix + Shared[role];
}
