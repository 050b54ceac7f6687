// Perplexity of a map, and how far its predictions are from those of the reference map, token by token.
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Statistics;
using KvCuda.Weights;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace KvCuda.Study;

/// <summary>A text of windows that are predicted by themselves.</summary>
/// <param name="Name">for tables</param>
/// <param name="Windows">token ids, at least two each</param>
internal sealed record StudyText(string Name, IReadOnlyList<int[]> Windows)
{
    public long Predictions => Windows.Sum(window => window.Length - 1L);

    /// <summary>The first windows up to a number of predictions.</summary>
    public StudyText Head(long predictions)
    {
        List<int[]> some = [];
        foreach (int[] window in Windows)
        {
            if (predictions < 2)
            {
                break;
            }
            int[] cut = window.Length - 1 <= predictions ? window : window[..(int)(predictions + 1)];
            some.Add(cut);
            predictions -= cut.Length - 1;
        }
        return this with { Windows = some };
    }
}

/// <summary>What one map predicts of one text.</summary>
/// <param name="Losses">per prediction: minus the log-probability of the token that came</param>
/// <param name="WindowLosses">their means per window</param>
/// <param name="Distances">per prediction: Kullback-Leibler distance from the reference; empty for the reference itself</param>
/// <param name="SameTop">share of predictions whose likeliest token is the reference's</param>
/// <param name="DeltaP">per prediction: probability of the token that came, less the reference's</param>
internal sealed record Predictions(
    double[] Losses, double[] WindowLosses, double[] Distances, double SameTop, double[] DeltaP);

/// <summary>Runs texts through maps. Log-probabilities of the reference are kept in memory as f32.</summary>
internal sealed class TextQuality(string folder, string device, int threads)
{
    readonly ModelConfig config = ModelConfig.Load(folder);
    readonly Dictionary<string, float[][]> reference = [];

    /// <summary>Predictions whose reference fits 256 MB.</summary>
    public long MostPredictions => (256L << 20) / 4 / config.Vocabulary;

    /// <summary>A model that can predict windows of this length.</summary>
    public LoadedModel Load(string? experiment, string format, int longest, int sequences = 12)
    {
        LayerSharing sharing = LoadedModel.SharingOf(config, experiment);
        return LoadedModel.Load(folder, new()
        {
            Device = device, Threads = threads, NumericsClass = Numerics.Exact, Sharing = experiment, KvType = format,
            MaxSequences = sequences, MaxStepTokens = 256, MaxWanted = 256, MaxContext = Math.Min(longest + 1, config.MaxPositions),
            KvBudgetBytes = Capacity.Budget(Formats.Layout(config, sharing, format), sequences, Math.Min(longest + 1, config.MaxPositions)),
        });
    }

    /// <summary>Runs a text. The first run of a text is the reference of the others.</summary>
    public Predictions Run(LoadedModel model, StudyText text, bool asReference)
    {
        using var runner = new StepRunner(model);
        int count = checked((int)text.Predictions);
        int[] start = new int[text.Windows.Count];
        for (int w = 1; w < start.Length; w++)
        {
            start[w] = start[w - 1] + text.Windows[w - 1].Length - 1;
        }
        float[][] kept = asReference ? new float[count][] : reference[text.Name];
        double[] losses = new double[count], distances = new double[asReference ? 0 : count], delta = new double[asReference ? 0 : count];
        int same = 0;
        float[] logs = new float[config.Vocabulary];
        runner.Predict(text.Windows, PrefillMode.Converged, (window, at, logits) =>
        {
            int i = start[window] + at - 1, token = text.Windows[window][at];
            LogSoftmax(logits, logs);
            losses[i] = -logs[token];
            if (asReference)
            {
                kept[i] = [.. logs];
                return;
            }
            float[] theirs = kept[i];
            double distance = 0;
            for (int v = 0; v < logs.Length; v++)
            {
                distance += Math.Exp(theirs[v]) * (theirs[v] - logs[v]);
            }
            distances[i] = Math.Max(0, distance);
            delta[i] = Math.Exp(logs[token]) - Math.Exp(theirs[token]);
            same += TensorPrimitives.IndexOfMax<float>(theirs) == TensorPrimitives.IndexOfMax<float>(logs) ? 1 : 0;
        });
        if (asReference)
        {
            reference[text.Name] = kept;
        }
        double[] windows = [.. text.Windows.Select((window, w) => losses.AsSpan(start[w], window.Length - 1).ToArray().Average())];
        return new(losses, windows, distances, asReference ? 1 : same / (double)count, delta);
    }

    static void LogSoftmax(float[] logits, float[] logs)
    {
        float largest = TensorPrimitives.Max<float>(logits);
        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - largest);
        }
        float shift = largest + (float)Math.Log(sum);
        for (int i = 0; i < logits.Length; i++)
        {
            logs[i] = logits[i] - shift;
        }
    }

    /// <summary>The cells of one map and format on one text.</summary>
    /// <param name="model">the model's name</param>
    /// <param name="map">the map's own notation</param>
    /// <param name="format">of keys and values</param>
    /// <param name="text">which</param>
    /// <param name="mine">its predictions</param>
    /// <param name="reference">the reference's; the same object for the reference itself</param>
    public static IReadOnlyList<Cell> Cells(string model, string map, string format, StudyText text, Predictions mine, Predictions reference)
    {
        double loss = mine.Losses.Average(), perplexity = Math.Exp(loss);
        List<Cell> cells =
        [
            new(model, map, format, "perplexity", text.Name, "", perplexity)
            {
                N = mine.Losses.Length, Better = "lower", Error = perplexity * Statistics.Numbers.StandardError(mine.Losses),
            },
        ];
        if (ReferenceEquals(mine, reference))
        {
            return cells;
        }
        Cell Make(string measure, double value, string better, double error = double.NaN, double p = double.NaN) =>
            new(model, map, format, measure, text.Name, "", value) { N = mine.Losses.Length, Better = better, Error = error, P = p };
        double[] differences = [.. mine.Losses.Zip(reference.Losses, (a, b) => a - b)];
        // The same windows under both maps: a paired test over windows, which are independent where tokens of one window are not.
        double pValue = mine.WindowLosses.Length > 1 ? Paired.Compare(reference.WindowLosses, mine.WindowLosses).PValue : double.NaN;
        cells.Add(Make("ln_perplexity_ratio", differences.Average(), "lower", Numbers.StandardError(differences), pValue));
        cells.Add(Make("kld_mean", mine.Distances.Average(), "lower", Numbers.StandardError(mine.Distances)));
        cells.Add(Make("kld_p99", Numbers.Quantile(mine.Distances, 0.99), "lower"));
        cells.Add(Make("kld_max", mine.Distances.Max(), "lower"));
        cells.Add(Make("same_top_token", mine.SameTop, "higher", Math.Sqrt(mine.SameTop * (1 - mine.SameTop) / mine.Losses.Length)));
        cells.Add(Make("delta_p_mean", mine.DeltaP.Average(), "higher", Numbers.StandardError(mine.DeltaP)));
        cells.Add(Make("delta_p_rms", Math.Sqrt(mine.DeltaP.Average(d => d * d)), "lower"));
        return cells;
    }
}
