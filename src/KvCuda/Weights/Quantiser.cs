using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>Which weights are quantised when a model is loaded.</summary>
static class Quantiser
{
    /// <summary>
    /// Whether a weight is quantised: the matrices that every token is multiplied with, which are nearly all bytes that a decode
    /// step reads. Embeddings are not (a token reads one row), nor norms and biases (a few numbers that scale or shift everything),
    /// nor a matrix whose rows are not whole groups.
    /// </summary>
    public static bool Takes(WeightFormat format, TensorRole role, in Tensor tensor) => tensor.Columns % format.Group == 0
        && role is TensorRole.Query or TensorRole.Key or TensorRole.Value or TensorRole.Output or TensorRole.Gate or TensorRole.Up
            or TensorRole.Down or TensorRole.Head;
}
