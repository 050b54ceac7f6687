using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Reference;

/// <summary>
/// A Llama whose sequence slides, token by token in double, as Xiao et al. 2023 put it: the cache holds sinks and window as one
/// run, keys are kept unrotated, and every position is a place in the cache. Layers with a shorter window of their own have the
/// positions of the text.
/// </summary>
sealed class StreamReference(ModelConfig config, ModelWeights weights, LayerSharing sharing, KvStreaming stream)
{
    /// <summary>(vocabulary): the logits after the last token.</summary>
    public double[] Logits(ReadOnlySpan<int> tokens)
    {
        List<(double[] K, double[] V)>[] kept = [.. Enumerable.Range(0, config.Layers).Select(_ => new List<(double[], double[])>())];
        double[] x = [];
        for (int p = 0; p < tokens.Length; p++)
        {
            x = Row(weights.Embedding, tokens[p]);
            for (int layer = 0; layer < config.Layers; layer++)
            {
                LayerWeights w = weights.Layers[layer];
                double[] h = Norm(x, w.AttentionNorm);
                if (sharing.Owns(layer))
                {
                    kept[layer].Add((Times(w.Key, h), Times(w.Value, h)));
                }
                Add(x, Times(w.Output, Attend(layer, p, Times(w.Query, h), kept[sharing.Target(layer)])));
                h = Norm(x, w.MlpNorm);
                double[] gate = Times(w.Gate, h), up = Times(w.Up, h);
                Add(x, Times(w.Down, [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]));
            }
        }
        return Times(weights.Head, Norm(x, weights.FinalNorm));
    }

    // What the row at position p sees: the token and its position as attention takes it, the row's own position last.
    (List<(int Token, int Position)> Seen, int Own) Sees(int layer, int p)
    {
        int window = sharing.Window(layer), most = stream.Sinks + stream.Window;
        List<(int, int)> seen = [];
        bool slides = p >= most && (window == 0 || window >= most);
        int reach = window == 0 ? int.MaxValue : p >= most ? Math.Min(window, stream.Window) : window;
        for (int t = 0; t <= p; t++)
        {
            if (sharing.StrictlyEarlier(layer) && t == p)
            {
                continue;
            }
            if (!slides && (long)t > (long)p - reach)
            {
                seen.Add((t, t));
            }
            else if (slides && (t < stream.Sinks || t > p - stream.Window))
            {
                seen.Add((t, t < stream.Sinks ? t : most - 1 - (p - t)));
            }
        }
        return (seen, slides ? most - 1 : p);
    }

    double[] Attend(int layer, int p, double[] q, List<(double[] K, double[] V)> kept)
    {
        (List<(int Token, int Position)> seen, int own) = Sees(layer, p);
        int dim = config.HeadDim, group = config.Heads / config.KvHeads;
        double[] y = new double[q.Length];
        for (int head = 0; head < config.Heads && seen.Count > 0; head++)
        {
            double[] rotated = Rotate(q.AsSpan(head * dim, dim), own);
            double[] scores = [.. seen.Select(s => config.AttentionScale * Rotate(kept[s.Token].K.AsSpan(head / group * dim, dim), s.Position)
                .Zip(rotated, (a, b) => a * b).Sum())];
            double largest = scores.Max(), sum = scores.Sum(s => Math.Exp(s - largest));
            for (int i = 0; i < seen.Count; i++)
            {
                double weight = Math.Exp(scores[i] - largest) / sum;
                for (int d = 0; d < dim; d++)
                {
                    y[head * dim + d] += weight * kept[seen[i].Token].V[head / group * dim + d];
                }
            }
        }
        return y;
    }

    double[] Rotate(ReadOnlySpan<double> x, int position)
    {
        double[] y = x.ToArray();
        float[] frequencies = config.Rope!.InverseFrequencies;
        for (int i = 0, half = frequencies.Length; i < half; i++)
        {
            (double sin, double cos) = Math.SinCos(position * (double)frequencies[i]);
            y[i] = config.Rope.Scale * (x[i] * cos - x[i + half] * sin);
            y[i + half] = config.Rope.Scale * (x[i + half] * cos + x[i] * sin);
        }
        return y;
    }

    double[] Norm(double[] x, in Tensor weight)
    {
        double scale = 1 / Math.Sqrt(x.Sum(n => n * n) / x.Length + config.NormEpsilon);
        double[] w = Row(weight, 0);
        return [.. x.Zip(w, (a, b) => a * scale * b)];
    }

    static double[] Times(in Tensor weight, double[] x)
    {
        double[] y = new double[weight.Rows];
        ReadOnlySpan<float> w = weight.Span<float>();
        for (int row = 0; row < y.Length; row++)
        {
            for (int i = 0; i < x.Length; i++)
            {
                y[row] += w[row * x.Length + i] * x[i];
            }
        }
        return y;
    }

    static double[] Row(in Tensor weight, int row)
    {
        double[] y = new double[weight.Columns];
        for (int i = 0; i < y.Length; i++)
        {
            y[i] = weight.Span<float>()[row * weight.Columns + i];
        }
        return y;
    }

    static void Add(double[] x, double[] y)
    {
        for (int i = 0; i < x.Length; i++)
        {
            x[i] += y[i];
        }
    }
}
