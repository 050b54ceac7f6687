namespace KvCuda.Weights;

/// <summary>What a tensor is for. Those from <see cref="AttentionNorm"/> on are there once per layer.</summary>
enum TensorRole
{
    Embedding,
    PositionEmbedding,
    FinalNorm,
    FinalNormBias,
    Head,
    PerLayerEmbedding,
    PerLayerProjection,
    PerLayerProjectionNorm,

    /// <summary>There are several: one for each further stream.</summary>
    StreamProjection,
    StreamReturn,

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
    PostAttentionNorm,
    MlpNorm,
    MlpNormBias,
    Gate,
    GateBias,
    Up,
    UpBias,
    Down,
    DownBias,
    PostMlpNorm,

    Router,
    RouterScale,
    ExpertScale,
    DenseNorm,
    ExpertNorm,
    PostExpertNorm,

    /// <summary>There are several: one for each expert.</summary>
    ExpertGate,
    ExpertUp,
    ExpertDown,

    InputGate,
    InputProjection,
    PostInputNorm,
    LayerScalar,

    StreamRouterNorm,
    StreamRouter,
    StreamPrediction,
    StreamCorrection,
    StreamScale,
    LowRankLeft,
    LowRankRight,
    LowRankNorm,
}

/// <summary>Facts about <see cref="TensorRole"/>.</summary>
static class TensorRoles
{
    /// <summary>Number of roles.</summary>
    public static readonly int Count = Enum.GetValues<TensorRole>().Length;

    /// <summary>Whether every layer has its own.</summary>
    public static bool IsPerLayer(this TensorRole role) => role >= TensorRole.AttentionNorm;

    /// <summary>Whether there are several, told apart by an index.</summary>
    public static bool IsIndexed(this TensorRole role) => role is TensorRole.StreamProjection or TensorRole.StreamReturn
        or TensorRole.ExpertGate or TensorRole.ExpertUp or TensorRole.ExpertDown;

    /// <summary>Whether it is a table of which a token reads one row.</summary>
    public static bool IsTable(this TensorRole role) =>
        role is TensorRole.Embedding or TensorRole.PositionEmbedding or TensorRole.PerLayerEmbedding;

    /// <summary>Whether it belongs to the keys and values of a layer that owns them.</summary>
    public static bool IsKeyOrValue(this TensorRole role) =>
        role is TensorRole.Key or TensorRole.KeyBias or TensorRole.Value or TensorRole.ValueBias or TensorRole.KeyNorm;

    /// <summary>Whether it scales normalised numbers, and so is 1 in a fresh model.</summary>
    public static bool IsNormWeight(this TensorRole role) => role is TensorRole.FinalNorm or TensorRole.AttentionNorm
        or TensorRole.MlpNorm or TensorRole.QueryNorm or TensorRole.KeyNorm or TensorRole.PostAttentionNorm or TensorRole.PostMlpNorm
        or TensorRole.PerLayerProjectionNorm or TensorRole.DenseNorm or TensorRole.ExpertNorm or TensorRole.PostExpertNorm
        or TensorRole.PostInputNorm or TensorRole.StreamRouterNorm or TensorRole.LowRankNorm;

    /// <summary>Whether it multiplies numbers one by one, and so is 1 in a fresh model.</summary>
    public static bool IsScale(this TensorRole role) => role is TensorRole.RouterScale or TensorRole.ExpertScale
        or TensorRole.LayerScalar or TensorRole.StreamScale;

    /// <summary>Whether it is added, and so is 0 in a fresh model.</summary>
    public static bool IsBias(this TensorRole role) => role is TensorRole.FinalNormBias or TensorRole.AttentionNormBias
        or TensorRole.QueryBias or TensorRole.KeyBias or TensorRole.ValueBias or TensorRole.OutputBias
        or TensorRole.MlpNormBias or TensorRole.GateBias or TensorRole.UpBias or TensorRole.DownBias;
}
