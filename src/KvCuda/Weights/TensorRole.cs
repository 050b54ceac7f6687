namespace KvCuda.Weights;

/// <summary>What a tensor is for. Those from <see cref="AttentionNorm"/> on are there once per layer.</summary>
enum TensorRole
{
    Embedding,
    PositionEmbedding,
    FinalNorm,
    FinalNormBias,
    Head,

    AttentionNorm,
    AttentionNormBias,
    Query,
    QueryBias,
    Key,
    KeyBias,
    Value,
    ValueBias,
    QueryNorm,
    KeyNorm,
    Output,
    OutputBias,
    MlpNorm,
    MlpNormBias,
    Gate,
    GateBias,
    Up,
    UpBias,
    Down,
    DownBias,
}

/// <summary>Facts about <see cref="TensorRole"/>.</summary>
static class TensorRoles
{
    /// <summary>Number of roles.</summary>
    public static readonly int Count = Enum.GetValues<TensorRole>().Length;

    /// <summary>Whether every layer has its own.</summary>
    public static bool IsPerLayer(this TensorRole role) => role >= TensorRole.AttentionNorm;

    /// <summary>Whether it belongs to the keys and values of a layer that owns them.</summary>
    public static bool IsKeyOrValue(this TensorRole role) =>
        role is TensorRole.Key or TensorRole.KeyBias or TensorRole.Value or TensorRole.ValueBias or TensorRole.KeyNorm;

    /// <summary>Whether it scales normalised numbers, and so is 1 in a fresh model.</summary>
    public static bool IsNormWeight(this TensorRole role) => role is TensorRole.FinalNorm or TensorRole.AttentionNorm
        or TensorRole.MlpNorm or TensorRole.QueryNorm or TensorRole.KeyNorm;

    /// <summary>Whether it is added, and so is 0 in a fresh model.</summary>
    public static bool IsBias(this TensorRole role) => role is TensorRole.FinalNormBias or TensorRole.AttentionNormBias
        or TensorRole.QueryBias or TensorRole.KeyBias or TensorRole.ValueBias or TensorRole.OutputBias
        or TensorRole.MlpNormBias or TensorRole.GateBias or TensorRole.UpBias or TensorRole.DownBias;
}
