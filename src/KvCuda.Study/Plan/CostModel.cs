// What a step and a prompt cost on this machine: four physical coefficients, fitted to a short measurement.
using System.Diagnostics;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Study;

/// <summary>What a decode step moves and computes.</summary>
/// <param name="Layers">each has a fixed cost</param>
/// <param name="WeightBytes">read once, whatever the batch</param>
/// <param name="Flops">of the batch's products</param>
/// <param name="KvBytes">keys and values read, shared ones by every reader</param>
internal readonly record struct StepWork(double Layers, double WeightBytes, double Flops, double KvBytes)
{
    /// <summary>A step of a model under a map.</summary>
    public static StepWork Of(ModelConfig config, LayerSharing sharing, int weightBytes, int kvBytes, int batch, double context)
    {
        double bytes = SpeedStudy.StepBytes(config, sharing, weightBytes), kv = 0;
        for (int layer = 0; layer < config.Layers; layer++)
        {
            int window = sharing.Window(layer);
            kv += 2.0 * config.KvSize * kvBytes * (window > 0 ? Math.Min(window, context) : context);
        }
        return new(config.Layers, bytes, 2 * bytes / weightBytes * batch, kv * batch);
    }

    internal double[] Features => [Layers, WeightBytes, Flops, KvBytes];
}

/// <summary>
/// Seconds of a step = fixed x layers + weights / bandwidth + flops / rate + keys and values / their bandwidth. A sum and no maximum:
/// on a CPU nothing overlaps for certain. Coefficients are never negative.
/// </summary>
internal sealed record CostModel(double[] Coefficients, double PromptFlopsPerSecond, double RelativeError)
{
    /// <summary>Predicted seconds of a step.</summary>
    public double Step(StepWork work) => work.Features.Zip(Coefficients, (x, c) => x * c).Sum();

    /// <summary>Predicted seconds of a prompt.</summary>
    /// <param name="config">the model</param>
    /// <param name="sharing">maps that look upward run at most token by token</param>
    /// <param name="weightBytes">per number</param>
    /// <param name="kvBytes">per number</param>
    /// <param name="tokens">of the prompt</param>
    public double Prompt(ModelConfig config, LayerSharing sharing, int weightBytes, int kvBytes, int tokens)
    {
        StepWork one = StepWork.Of(config, sharing, weightBytes, kvBytes, 1, tokens / 2.0);
        double attention = 4.0 * config.Layers * config.QuerySize * tokens * (tokens / 2.0);
        double together = (one.Layers * Coefficients[0]) + (one.WeightBytes * Coefficients[1]) + (((one.Flops * tokens) + attention) / PromptFlopsPerSecond);
        // At least a pass and the one that confirms it over the cyclic blocks; random and small trained models need about a pass a token.
        double again = sharing.IteratedBlocks.Sum(block => block.Last - block.First + 1.0) / config.Layers;
        return sharing.IsCyclic ? Math.Max(together * (1 + again), tokens * Step(one)) : together;
    }

    /// <summary>Fits the coefficients to measured steps by least squares of relative errors, none negative.</summary>
    /// <param name="points">work and measured seconds</param>
    /// <param name="promptFlopsPerSecond">measured</param>
    public static CostModel Fit(IReadOnlyList<(StepWork Work, double Seconds)> points, double promptFlopsPerSecond)
    {
        // Rows scaled by 1 / seconds, columns to one size; then coordinate descent with a floor of 0, which converges for so few unknowns.
        double[][] rows = [.. points.Select(point => point.Work.Features.Select(x => x / point.Seconds).ToArray())];
        double[] scale = [.. Enumerable.Range(0, 4).Select(j => Math.Max(rows.Max(row => row[j]), 1e-300))], c = new double[4];
        for (int sweep = 0; sweep < 5000; sweep++)
        {
            for (int j = 0; j < 4; j++)
            {
                double above = 0, below = 0;
                foreach (double[] row in rows)
                {
                    double rest = 1;
                    for (int k = 0; k < 4; k++)
                    {
                        rest -= k == j ? 0 : c[k] * row[k] / scale[k];
                    }
                    above += rest * row[j] / scale[j];
                    below += row[j] / scale[j] * (row[j] / scale[j]);
                }
                c[j] = below > 0 ? Math.Max(0, above / below) : 0;
            }
        }
        double[] found = [.. c.Zip(scale, (value, s) => value / s)];
        var model = new CostModel(found, promptFlopsPerSecond, 0);
        // Twice the root mean square of the relative residuals, and never less than 10 %: what is stated beside every prediction.
        double square = points.Average(point => Math.Pow((model.Step(point.Work) / point.Seconds) - 1, 2));
        return model with { RelativeError = Math.Max(0.1, 2 * Math.Sqrt(square)) };
    }

    /// <summary>
    /// Measures steps at three batches and two contexts, and a prompt, for a few seconds: of the model, and of a small shape with another
    /// number of bytes per layer, without which the two could not be told apart.
    /// </summary>
    public static CostModel Measure(string folder, string device, int threads, Action<string> say)
    {
        List<(StepWork, double)> points = [];
        string small = RandomModels.Folder(ModelShape.Calibration, RandomModels.DefaultCache, say);
        double rate = Measure(folder, device, threads, points, say), other = Measure(small, device, threads, points, say);
        return Fit(points, rate > 0 ? rate : other);
    }

    static double Measure(string folder, string device, int threads, List<(StepWork, double)> points, Action<string> say)
    {
        ModelConfig config = ModelConfig.Load(folder);
        LayerSharing sharing = LoadedModel.SharingOf(config, null);
        string format = DTypes.Name(config.Type ?? DType.BF16);
        int longest = Math.Min(config.MaxPositions - 16, 1024), shortest = Math.Max(8, longest / 8), bytes = DTypes.Bytes(DTypes.Parse(format));
        double rate = 0;
        foreach (int batch in new[] { 1, 4, 16 })
        {
            say($"calibrating on {Path.GetFileName(folder.TrimEnd(Path.DirectorySeparatorChar))}: batch {batch}");
            using LoadedModel model = LoadedModel.Load(folder, new()
            {
                Device = device, Threads = threads, NumericsClass = Numerics.Fast, KvType = format, MaxSequences = batch, MaxStepTokens = Math.Max(256, batch), MaxContext = longest + 16,
                KvBudgetBytes = Capacity.Budget(Formats.Layout(config, sharing, format), batch + 1, longest + 16),
            });
            using (var loop = new StepLoop(model, batch))
            {
                foreach (int context in new[] { shortest, longest })
                {
                    loop.Grow(context);
                    loop.Seconds(2);
                    points.Add((StepWork.Of(config, sharing, bytes, bytes, batch, context), Samples.MedianOf(loop.Seconds(7))));
                }
            }
            // A cyclic model's prompt says nothing of its arithmetic.
            rate = batch == 1 && !sharing.IsCyclic ? PromptRate(model, SpeedStudy.StepBytes(config, sharing, bytes) / bytes, Math.Min(256, longest)) : rate;
        }
        return rate;
    }

    static double PromptRate(LoadedModel model, double parameters, int tokens)
    {
        using var runner = new StepRunner(model);
        int[] ids = Prompts.Random(1, tokens, model.Config.Vocabulary);
        double seconds = double.MaxValue;
        for (int i = 0; i < 3; i++)
        {
            KvSequence sequence = model.Store.Open();
            long start = Stopwatch.GetTimestamp();
            runner.Prompt(sequence, ids, PrefillMode.Converged);
            seconds = Math.Min(seconds, Stopwatch.GetElapsedTime(start).TotalSeconds);
            model.Store.Close(sequence);
        }
        return 2 * parameters * tokens / seconds;
    }
}
