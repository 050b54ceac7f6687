using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>Attend of IBackend, for one row: softmax over what it sees, in one piece.</summary>
static class AttentionReference
{
    /// <summary>True if the row at a position sees a token. (0, 0) sinks and window: the row does not slide.</summary>
    public static bool Sees(in AttentionMask mask, int position, int token, (int Sinks, int Window) span = default)
    {
        if (token > (mask.StrictlyEarlier ? position - 1 : position))
        {
            return false;
        }
        if (span.Window == 0)
        {
            return mask.Window == 0 || token > position - mask.Window;
        }
        // A window of the layer's own, if it is shorter than the cache, else what the stream keeps.
        return mask.Window > 0 && mask.Window < span.Sinks + span.Window
            ? token > position - mask.Window && token > position - span.Window
            : token < span.Sinks || token > position - span.Window;
    }

    /// <param name="q">(headDim): one query head</param>
    /// <param name="keys">(tokens, headDim) of its kv head</param>
    /// <param name="values">(tokens, headDim)</param>
    /// <param name="position">the row's position</param>
    /// <param name="mask">what it may see</param>
    /// <param name="span">sinks and window of a row that slides</param>
    /// <param name="sinkQ">(headDim): what sinks are multiplied by</param>
    /// <returns>(headDim); zeros if it sees nothing</returns>
    public static double[] Attend(ReadOnlySpan<double> q, Matrix keys, Matrix values, int position, in AttentionMask mask,
        (int Sinks, int Window) span = default, ReadOnlySpan<double> sinkQ = default)
    {
        var y = new double[q.Length];
        var scores = new double[keys.Rows];
        double largest = double.NegativeInfinity, sum = 0;
        for (int token = 0; token < keys.Rows; token++)
        {
            scores[token] = double.NegativeInfinity;
            if (Sees(mask, position, token, span))
            {
                double dot = 0;
                for (int i = 0; i < q.Length; i++)
                {
                    dot += (token < span.Sinks ? sinkQ[i] : q[i]) * keys[token, i];
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
