using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>What the larger verbs are made of: the definition, and what runs on a backend that has no kernel for one.</summary>
internal static class Composed
{
    /// <inheritdoc cref="IVerbs.MatMulTogether"/>
    public static void MatMulTogether(IVerbs verbs, in Tensor x, ReadOnlySpan<Projection> projections)
    {
        foreach (ref readonly Projection projection in projections)
        {
            if (!projection.Y.IsNone)
            {
                verbs.MatMul(projection.Y, x, projection.Weight, projection.Bias);
            }
        }
    }

    /// <inheritdoc cref="IVerbs.MatMulGate"/>
    public static void MatMulGate(IVerbs verbs, in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight,
        in Tensor gateBias, in Tensor upBias, Activation activation)
    {
        verbs.MatMulTogether(x, [new(g, gateWeight, gateBias), new(up, upWeight, upBias)]);
        verbs.Gate(g, g, up, activation);
    }

    /// <inheritdoc cref="IVerbs.RotateStoreKv"/>
    public static void RotateStoreKv(IVerbs verbs, in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin,
        in BatchRows rows, in Tensor changed)
    {
        if (!cosSin.IsNone)
        {
            if (!q.IsNone)
            {
                verbs.Rotate(q, cosSin, kv.HeadDim);
            }
            verbs.Rotate(k, cosSin, kv.HeadDim);
        }
        verbs.StoreKv(kv, k, v, rows, changed);
    }

    /// <inheritdoc cref="IVerbs.MatMulQkv"/>
    public static void MatMulQkv(IVerbs verbs, in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor x,
        in QkvWeights weights, in Tensor cosSin, in BatchRows rows, in Tensor changed)
    {
        verbs.MatMulTogether(x, [
            new(q, weights.Query, weights.QueryBias), new(k, weights.Key, weights.KeyBias),
            new(v, weights.Value, weights.ValueBias)]);
        if (!k.IsNone)
        {
            verbs.RotateStoreKv(kv, q, k, v, cosSin, rows, changed);
        }
        else if (!q.IsNone && !cosSin.IsNone)
        {
            verbs.Rotate(q, cosSin, kv.HeadDim);
        }
    }
}
