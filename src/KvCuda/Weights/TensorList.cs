// The tensors of a model, from its config alone.
using KvCuda.Tensors;
using KvCuda.Weights.Families;
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights;

/// <summary>A tensor that a model must have.</summary>
/// <param name="Role">what it is for</param>
/// <param name="Layer">its layer; -1 for those of the whole model</param>
/// <param name="Name">its name in safetensors files</param>
/// <param name="Shape">(n,) or (outputs, inputs)</param>
/// <param name="Index">which of several of its role, such as the expert; else -1</param>
readonly record struct TensorSpec(TensorRole Role, int Layer, string Name, Shape Shape, int Index = -1)
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
        foreach (TensorSpec spec in Before(config))
        {
            yield return spec with { Name = names.Of(spec.Role, -1, spec.Index) };
        }
        for (int layer = 0; layer < config.Layers; layer++)
        {
            foreach ((TensorRole role, Shape shape) in PerLayer(config, config.LayerConfigs[layer]))
            {
                if (!role.IsKeyOrValue() || ownsKv(layer))
                {
                    yield return new(role, layer, names.Of(role, layer), shape);
                }
            }
            for (int expert = 0; config.LayerConfigs[layer].HasExperts && expert < config.Experts!.Count; expert++)
            {
                Shape into = new(config.Experts.Size, config.HiddenSize);
                yield return new(ExpertGate, layer, names.Of(ExpertGate, layer, expert), into, expert);
                yield return new(ExpertUp, layer, names.Of(ExpertUp, layer, expert), into, expert);
                yield return new(ExpertDown, layer, names.Of(ExpertDown, layer, expert), new(config.HiddenSize, config.Experts.Size), expert);
            }
        }
        foreach (TensorSpec spec in After(config))
        {
            yield return spec with { Name = names.Of(spec.Role, -1, spec.Index) };
        }
    }

    static IEnumerable<TensorSpec> Before(ModelConfig config)
    {
        long hidden = config.HiddenSize;
        yield return new(Embedding, -1, "", new(config.Vocabulary, hidden));
        if (config.Rope is null)
        {
            yield return new(PositionEmbedding, -1, "", new(config.MaxPositions, hidden));
        }
        if (config.PerLayerInputs is { } inputs)
        {
            yield return new(PerLayerEmbedding, -1, "", new(inputs.Rows, (long)config.Layers * inputs.Size));
            yield return new(PerLayerProjection, -1, "", new((long)config.Layers * inputs.Size, hidden));
            yield return new(PerLayerProjectionNorm, -1, "", new(inputs.Size));
        }
        for (int i = 0; config.AltUp is { } altUp && i < altUp.Streams - 1; i++)
        {
            yield return new(StreamProjection, -1, "", new(hidden, hidden), i);
        }
    }

    static IEnumerable<TensorSpec> After(ModelConfig config)
    {
        long hidden = config.HiddenSize;
        for (int i = 0; config.AltUp is { } altUp && i < altUp.Streams - 1; i++)
        {
            yield return new(StreamReturn, -1, "", new(hidden, hidden), i);
        }
        yield return new(FinalNorm, -1, "", new(hidden));
        if (config.NormBias)
        {
            yield return new(FinalNormBias, -1, "", new(hidden));
        }
        if (!config.TiedHead)
        {
            yield return new(Head, -1, "", new(config.Vocabulary, hidden));
        }
    }

    static IEnumerable<(TensorRole Role, Shape Shape)> PerLayer(ModelConfig config, LayerConfig layer)
    {
        long hidden = config.HiddenSize, query = layer.QuerySize, kv = layer.KvSize, mlp = layer.MlpSize;
        bool dense = mlp > 0, beside = layer.HasExperts && config.Experts!.BesideMlp, heads = config.HeadNorm != HeadNorm.None;
        bool whole = config.HeadNorm == HeadNorm.Whole;
        (long streams, long rank, long own) = (config.AltUp?.Streams ?? 0, config.AltUp?.Rank ?? 0, config.PerLayerInputs?.Size ?? 0);
        (TensorRole Role, bool Present, Shape Shape)[] all =
        [
            (AttentionNorm, config.PreNorms, new(hidden)),
            (AttentionNormBias, config.NormBias, new(hidden)),
            (Query, true, new(query, hidden)),
            (QueryBias, config.QkvBias, new(query)),
            (Key, true, new(kv, hidden)),
            (KeyBias, config.QkvBias, new(kv)),
            (Value, !layer.KeyIsValue, new(kv, hidden)),
            (ValueBias, config.QkvBias, new(kv)),
            (QueryNorm, heads, new(whole ? query : layer.HeadDim)),
            (KeyNorm, heads, new(whole ? kv : layer.HeadDim)),
            (Output, true, new(hidden, query)),
            (OutputBias, config.OutputBias, new(hidden)),
            (PostAttentionNorm, config.PostNorms, new(hidden)),
            (MlpNorm, config.PreNorms && !config.ParallelBlock, new(hidden)),
            (MlpNormBias, config.NormBias && !config.ParallelBlock, new(hidden)),
            (Gate, dense && config.GatedMlp, new(mlp, hidden)),
            (GateBias, dense && config.GatedMlp && config.MlpBias, new(mlp)),
            (Up, dense, new(mlp, hidden)),
            (UpBias, dense && config.MlpBias, new(mlp)),
            (Down, dense, new(hidden, mlp)),
            (DownBias, dense && config.MlpBias, new(hidden)),
            (PostMlpNorm, config.PostNorms, new(hidden)),
            (Router, layer.HasExperts, new(config.Experts?.Count ?? 0, hidden)),
            (RouterScale, beside, new(hidden)),
            (ExpertScale, beside, new(config.Experts?.Count ?? 0)),
            (DenseNorm, beside, new(hidden)),
            (ExpertNorm, beside, new(hidden)),
            (PostExpertNorm, beside, new(hidden)),
            (InputGate, own > 0, new(own, hidden)),
            (InputProjection, own > 0, new(hidden, own)),
            (PostInputNorm, own > 0, new(hidden)),
            (LayerScalar, config.LayerScalar, new(1)),
            (StreamRouterNorm, streams > 0, new(hidden)),
            (StreamRouter, streams > 0, new(streams, hidden)),
            (StreamPrediction, streams > 0, new(streams * streams, streams)),
            (StreamCorrection, streams > 0, new(streams, streams)),
            (StreamScale, streams > 0 && config.AltUp!.ScalesOutput, new(hidden)),
            (LowRankLeft, streams > 0, new(rank, hidden)),
            (LowRankRight, streams > 0, new(hidden, rank)),
            (LowRankNorm, streams > 0, new(hidden)),
        ];
        return all.Where(entry => entry.Present).Select(entry => (entry.Role, entry.Shape));
    }
}
