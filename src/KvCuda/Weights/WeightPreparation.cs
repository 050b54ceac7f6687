// What is done to a weight when it is loaded, so that the decoder needs no verb for it.
using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>
/// Norms that multiply by 1 + weight become f32 weights (bf16 cannot hold the sum); the rows of queries and keys whose rotation
/// pairs neighbours are put in an order in which it pairs halves: the same scores, from the same numbers.
/// </summary>
static class WeightPreparation
{
    /// <summary>Whether the weight is stored in another form than it is used in.</summary>
    public static bool Changes(ModelConfig config, TensorRole role) => (config.NormPlusOne && role.IsNormWeight())
        || (config.NeighbourRotation && role is TensorRole.Query or TensorRole.Key or TensorRole.QueryBias or TensorRole.KeyBias);

    /// <summary>The type it is used in.</summary>
    public static DType TypeOf(ModelConfig config, TensorRole role, in Tensor stored) =>
        config.NormPlusOne && role.IsNormWeight() ? DType.F32 : stored.Type;

    /// <summary>Its bytes in the form it is used in.</summary>
    /// <param name="config">the model</param>
    /// <param name="role">what it is for</param>
    /// <param name="layer">its layer</param>
    /// <param name="stored">in host memory, as the file has it</param>
    public static byte[] Bytes(ModelConfig config, TensorRole role, int layer, in Tensor stored)
    {
        if (config.NormPlusOne && role.IsNormWeight())
        {
            float[] numbers = new float[stored.Columns];
            for (int i = 0; i < numbers.Length; i++)
            {
                numbers[i] = 1 + Number(stored, i);
            }
            return System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(numbers).ToArray();
        }
        // Of each head: rows 0, 2, 4, .. then 1, 3, 5, ..
        int headDim = config.LayerConfigs[layer].HeadDim, half = headDim / 2;
        bool vector = stored.Rows == 1;
        int rowBytes = (vector ? 1 : stored.Columns) * stored.Type.Bytes(), rows = vector ? stored.Columns : stored.Rows;
        ReadOnlySpan<byte> from = stored.Span<byte>();
        byte[] bytes = new byte[from.Length];
        for (int row = 0; row < rows; row++)
        {
            int head = row / headDim * headDim, place = row % headDim;
            int source = head + (place < half ? 2 * place : (2 * (place - half)) + 1);
            from.Slice(source * rowBytes, rowBytes).CopyTo(bytes.AsSpan(row * rowBytes));
        }
        return bytes;
    }

    static float Number(in Tensor tensor, int i) => tensor.Type switch
    {
        DType.F32 => tensor.Span<float>()[i],
        DType.F16 => (float)tensor.Span<Half>()[i],
        _ => BF16.ToSingle(tensor.Span<ushort>()[i]),
    };
}
