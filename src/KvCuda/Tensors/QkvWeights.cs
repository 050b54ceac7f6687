namespace KvCuda.Tensors;

/// <summary>The projections of one layer's attention. Key and Value are none in a layer that owns no keys and values.</summary>
/// <param name="Query">(heads * headDim, inputs)</param>
/// <param name="QueryBias">(1, heads * headDim), or none</param>
/// <param name="Key">(kvHeads * headDim, inputs), or none</param>
/// <param name="KeyBias">(1, kvHeads * headDim), or none</param>
/// <param name="Value">(kvHeads * headDim, inputs), or none</param>
/// <param name="ValueBias">(1, kvHeads * headDim), or none</param>
internal readonly record struct QkvWeights(
    Tensor Query, Tensor QueryBias, Tensor Key, Tensor KeyBias, Tensor Value, Tensor ValueBias);
