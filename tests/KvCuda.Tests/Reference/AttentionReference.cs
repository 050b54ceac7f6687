using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>Attend of IBackend, for one row: softmax over what it sees, in one piece.</summary>
static class AttentionReference
{
    /// <summary>True if the row at a position sees a token.</summary>
    public static bool Sees(in AttentionMask mask, int position, int token) =>
        token <= (mask.StrictlyEarlier ? position - 1 : position) &&
        (mask.Window == 0 || token > position - mask.Window || token < mask.Sinks);

    /// <param name="q">(headDim): one query head</param>
    /// <param name="keys">(tokens, headDim) of its kv head</param>
    /// <param name="values">(tokens, headDim)</param>
    /// <param name="position">the row's position</param>
    /// <param name="mask">what it may see</param>
    /// <returns>(headDim); zeros if it sees nothing</returns>
    public static double[] Attend(ReadOnlySpan<double> q, Matrix keys, Matrix values, int position, in AttentionMask mask)
    {
        var y = new double[q.Length];
        var scores = new double[keys.Rows];
        double largest = double.NegativeInfinity, sum = 0;
        for (int token = 0; token < keys.Rows; token++)
        {
            scores[token] = double.NegativeInfinity;
            if (Sees(mask, position, token))
            {
                double dot = 0;
                for (int i = 0; i < q.Length; i++)
                {
                    dot += q[i] * keys[token, i];
                }
                scores[token] = mask.Scale * dot;
                largest = Math.Max(largest, scores[token]);
            }
        }
        for (int token = 0; token < keys.Rows && largest > double.NegativeInfinity; token++)
        {
            double weight = Math.Exp(scores[token] - largest);
            sum += weight;
            for (int i = 0; i < q.Length && weight > 0; i++)
            {
                y[i] += weight * values[token, i];
            }
        }
        for (int i = 0; i < q.Length && sum > 0; i++)
        {
            y[i] /= sum;
        }
        return y;
    }
}
