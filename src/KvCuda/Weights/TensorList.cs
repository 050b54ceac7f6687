using KvCuda.Tensors;
using KvCuda.Weights.Names;

namespace KvCuda.Weights;

/// <summary>A tensor that a model must have.</summary>
/// <param name="Role">what it is for</param>
/// <param name="Layer">its layer; -1 for those of the whole model</param>
/// <param name="Name">its name in safetensors files</param>
/// <param name="Shape">(n,) or (outputs, inputs)</param>
readonly record struct TensorSpec(TensorRole Role, int Layer, string Name, Shape Shape)
{
    public int Rows => Shape.Rank == 1 ? 1 : (int)Shape[0];

    public int Columns => (int)Shape[Shape.Rank - 1];
}

/// <summary>
/// The tensors of a model, from its config alone: what loading checks, `init` makes and `convert` keeps.
/// </summary>
static class TensorList
{
    /// <summary>In the order of the computation. A layer that owns no keys and values has no tensors for them.</summary>
    public static IEnumerable<TensorSpec> Of(ModelConfig config, Func<int, bool> ownsKv)
    {
        TensorNames names = TensorNames.Of(config.Family);
        foreach ((TensorRole role, Shape shape) in Shared(config).Where(entry => entry.Role != TensorRole.Head))
        {
            if (role is TensorRole.Embedding or TensorRole.PositionEmbedding)
            {
                yield return new(role, -1, names.Of(role, -1), shape);
            }
        }
        var perLayer = PerLayer(config).ToArray();
        for (int layer = 0; layer < config.Layers; layer++)
        {
            foreach ((TensorRole role, Shape shape) in perLayer)
            {
                if (!role.IsKeyOrValue() || ownsKv(layer))
                {
                    yield return new(role, layer, names.Of(role, layer), shape);
                }
            }
        }
        foreach ((TensorRole role, Shape shape) in Shared(config))
        {
            if (role is not (TensorRole.Embedding or TensorRole.PositionEmbedding))
            {
                yield return new(role, -1, names.Of(role, -1), shape);
            }
        }
    }

    static IEnumerable<(TensorRole Role, Shape Shape)> Shared(ModelConfig config)
    {
        yield return (TensorRole.Embedding, new(config.Vocabulary, config.HiddenSize));
        if (config.Rope is null)
        {
            yield return (TensorRole.PositionEmbedding, new(config.MaxPositions, config.HiddenSize));
        }
        yield return (TensorRole.FinalNorm, new(config.HiddenSize));
        if (config.Norm == NormKind.Layer)
        {
            yield return (TensorRole.FinalNormBias, new(config.HiddenSize));
        }
        if (!config.TiedHead)
        {
            yield return (TensorRole.Head, new(config.Vocabulary, config.HiddenSize));
        }
    }

    static IEnumerable<(TensorRole Role, Shape Shape)> PerLayer(ModelConfig config)
    {
        long hidden = config.HiddenSize, query = config.QuerySize, kv = config.KvSize, mlp = config.MlpSize;
        (TensorRole Role, bool Present, Shape Shape)[] all =
        [
            (TensorRole.AttentionNorm, true, new(hidden)),
            (TensorRole.AttentionNormBias, config.Norm == NormKind.Layer, new(hidden)),
            (TensorRole.Query, true, new(query, hidden)),
            (TensorRole.QueryBias, config.QkvBias, new(query)),
            (TensorRole.Key, true, new(kv, hidden)),
            (TensorRole.KeyBias, config.QkvBias, new(kv)),
            (TensorRole.Value, true, new(kv, hidden)),
            (TensorRole.ValueBias, config.QkvBias, new(kv)),
            (TensorRole.QueryNorm, config.HeadNorm != HeadNorm.None, new(config.HeadDim)),
            (TensorRole.KeyNorm, config.HeadNorm != HeadNorm.None, new(config.HeadDim)),
            (TensorRole.Output, true, new(hidden, query)),
            (TensorRole.OutputBias, config.OutputBias, new(hidden)),
            (TensorRole.MlpNorm, true, new(hidden)),
            (TensorRole.MlpNormBias, config.Norm == NormKind.Layer, new(hidden)),
            (TensorRole.Gate, config.GatedMlp, new(mlp, hidden)),
            (TensorRole.GateBias, config.GatedMlp && config.MlpBias, new(mlp)),
            (TensorRole.Up, true, new(mlp, hidden)),
            (TensorRole.UpBias, config.MlpBias, new(mlp)),
            (TensorRole.Down, true, new(hidden, mlp)),
            (TensorRole.DownBias, config.MlpBias, new(hidden)),
        ];
        return all.Where(entry => entry.Present).Select(entry => (entry.Role, entry.Shape));
    }
}
