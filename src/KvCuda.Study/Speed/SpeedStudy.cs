// Speed of one map in one format: prompts by mode, decode steps by batch and context, throughput of mixes at a fixed budget.
using System.Diagnostics;
using System.Globalization;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Weights;

namespace KvCuda.Study;

/// <summary>What speed is measured at.</summary>
/// <param name="Device">as the engine's option</param>
/// <param name="Threads">0: all</param>
/// <param name="PromptTokens">of the prompt whose time is measured</param>
/// <param name="Batches">of decode steps</param>
/// <param name="Context">of decode steps</param>
/// <param name="Mixes">whose throughput is integrated</param>
/// <param name="BudgetShares">budgets as multiples of the bytes of weights</param>
/// <param name="Repeats">samples of each</param>
/// <param name="MostBatch">largest batch that is run</param>
/// <param name="WholeMix">run one mix whole and say how wrong the integral is</param>
internal sealed record SpeedOptions(
    string Device, int Threads, int PromptTokens, IReadOnlyList<int> Batches, int Context, IReadOnlyList<Mix> Mixes,
    IReadOnlyList<double> BudgetShares, int Repeats, int MostBatch, bool WholeMix);

/// <summary>Measures one map.</summary>
internal sealed class SpeedStudy(string name, string folder, SpeedOptions options)
{
    readonly ModelConfig config = ModelConfig.Load(folder);

    /// <summary>Bytes of weights that a step reads: all but the embedding's table, of which a token reads a row.</summary>
    public static double StepBytes(ModelConfig config, LayerSharing sharing, int bytesPerNumber) =>
        (TensorList.Of(config, sharing.Owns).Where(spec => spec.Role is not (TensorRole.Embedding or TensorRole.PositionEmbedding)).Sum(spec => (double)spec.Shape.Count)
            + (config.TiedHead ? (double)config.Vocabulary * config.HiddenSize : 0)) * bytesPerNumber;

    /// <summary>What is known without running: bytes per token, and how many sequences each budget holds.</summary>
    public IReadOnlyList<Cell> Exact(LayerSharing sharing, string format, KvLayout layout, int weightBytesPerNumber)
    {
        string map = sharing.ToString();
        List<Cell> cells =
        [
            new(name, map, format, "kv_bytes_per_token", "", "bytes", layout.BytesPerToken) { Exact = true, Better = "lower" },
            new(name, map, format, "kv_owner_layers", "", "layers", sharing.Owners.Count) { Exact = true },
            new(name, map, format, "weight_bytes", "", "bytes", StepBytes(config, sharing, weightBytesPerNumber)) { Exact = true, Better = "lower" },
        ];
        double weights = StepBytes(config, LayerSharing.Standard(config.Layers), weightBytesPerNumber);
        foreach (double share in options.BudgetShares)
        {
            foreach (Mix mix in options.Mixes)
            {
                cells.Add(new(name, map, format, "largest_batch", At(share, mix), "sequences",
                    Capacity.Sequences(layout, (long)(share * weights), mix.Total)) { Exact = true, Better = "higher" });
            }
        }
        return cells;
    }

    public static string At(double share, Mix mix) => string.Create(CultureInfo.InvariantCulture, $"budget={share}W mix={mix}");

    /// <summary>Everything that takes time.</summary>
    public IReadOnlyList<Cell> Timed(LayerSharing sharing, string? experiment, string format, int weightBytesPerNumber, bool wholeMix)
    {
        string map = sharing.ToString();
        List<Cell> cells = [];
        int prompt = Math.Min(options.PromptTokens, config.MaxPositions - 1);
        using (LoadedModel model = Load(experiment, format, 1, prompt + 8, Math.Max(prompt, 256)))
        {
            Prompts(cells, model, map, format, prompt);
        }
        Decodes(cells, experiment, map, format);
        Throughput(cells, experiment, map, format, weightBytesPerNumber, wholeMix);
        return cells;
    }

    void Prompts(List<Cell> cells, LoadedModel model, string map, string format, int tokens)
    {
        using var runner = new StepRunner(model);
        PrefillMode[] modes = model.Sharing.IsCyclic
            ? [PrefillMode.Converged, PrefillMode.Sequential, PrefillMode.Parse("iterative:7+2")] : [PrefillMode.Converged];
        foreach (PrefillMode mode in modes)
        {
            List<double> samples = [];
            for (int i = 0; i <= options.Repeats; i++)
            {
                int[] ids = Study.Prompts.Random(i + 1, tokens, config.Vocabulary);
                KvSequence sequence = model.Store.Open();
                long start = Stopwatch.GetTimestamp();
                runner.Prompt(sequence, ids, mode);
                double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
                model.Store.Close(sequence);
                if (i > 0)
                {
                    samples.Add(milliseconds); // the first compiles
                }
            }
            string how = model.Sharing.IsCyclic ? mode.Kind.ToString().ToLowerInvariant() : "one pass";
            cells.Add(Cell.Of(name, map, format, "time_to_first_token_ms", $"prompt={tokens} {how}", "ms", "lower", samples));
        }
    }

    void Decodes(List<Cell> cells, string? experiment, string map, string format)
    {
        int steps = 24;
        int context = Math.Min(options.Context, config.MaxPositions - steps - 6);
        foreach (int batch in options.Batches)
        {
            using LoadedModel model = Load(experiment, format, batch, context + steps + 6, batch);
            using var loop = new StepLoop(model, batch);
            loop.Grow(context);
            loop.Seconds(2);
            double? before = Energy.Joules(options.Device.StartsWith("cuda", StringComparison.Ordinal));
            double[] seconds = loop.Seconds(steps);
            double? after = Energy.Joules(options.Device.StartsWith("cuda", StringComparison.Ordinal));
            string at = $"batch={batch} context={context}";
            cells.Add(Cell.Of(name, map, format, "decode_tokens_per_s", at, "tokens/s", "higher", [.. seconds.Select(s => batch / s)]));
            cells.Add(Cell.Of(name, map, format, "decode_step_ms", at, "ms", "lower", [.. seconds.Select(s => s * 1e3)]));
            if (before is { } from && after is { } to && to > from)
            {
                cells.Add(new(name, map, format, "energy_per_token", at, "J", (to - from) / (batch * (double)steps))
                {
                    N = steps, Better = "lower", Note = "of the whole package, other programs included",
                });
            }
        }
    }

    // At every budget the largest batch; a mix is integrated over steps at five lengths and the time of its prompts.
    void Throughput(List<Cell> cells, string? experiment, string map, string format, int bytes, bool wholeMix)
    {
        double weights = StepBytes(config, LayerSharing.Standard(config.Layers), bytes);
        double firstToken = cells.FindAll(cell => cell.Measure == "time_to_first_token_ms").Min(cell => cell.Value) / 1e3;
        int promptTokens = Math.Min(options.PromptTokens, config.MaxPositions - 1);
        foreach (double share in options.BudgetShares)
        {
            foreach (Mix mix in options.Mixes.Where(mix => mix.Total <= config.MaxPositions))
            {
                long budget = (long)(share * weights);
                int batch;
                using (LoadedModel probe = Load(experiment, format, 1, mix.Total, 16))
                {
                    batch = Math.Min(Capacity.Sequences(probe.Layout, budget, mix.Total), options.MostBatch);
                }
                if (batch == 0)
                {
                    cells.Add(new(name, map, format, "throughput", At(share, mix), "tokens/s", 0) { Exact = true, Better = "higher", Note = "no sequence fits" });
                    continue;
                }
                using LoadedModel model = Load(experiment, format, batch, mix.Total + 8, Math.Max(batch, 16), budget: true);
                using var loop = new StepLoop(model, batch);
                List<(int, double)> points = [];
                foreach (int length in Integral.Lengths(mix))
                {
                    loop.Grow(Math.Min(length, mix.Total - 5));
                    // Means, as a whole mix has them: a slow step counts.
                    loop.Seconds(points.Count == 0 ? 2 : 0);
                    points.Add((length, loop.Seconds(3).Average()));
                }
                double decode = Integral.Seconds(points, mix.Prompt, mix.Generate);
                // Prompts of another length than the measured one take as long per token.
                double prefill = firstToken * mix.Prompt / promptTokens * batch;
                cells.Add(new(name, map, format, "throughput", At(share, mix), "tokens/s", batch * mix.Generate / (decode + prefill))
                {
                    N = points.Count, Better = "higher",
                    Note = string.Create(CultureInfo.InvariantCulture,
                        $"batch {batch}; of {decode + prefill:F2} s prompts take {prefill / (decode + prefill):P0}{(batch == options.MostBatch ? "; batch limited by the study" : "")}"),
                });
                cells.Add(new(name, map, format, "step_at_largest_batch_ms", At(share, mix), "ms", Samples.MedianOf([.. points.Select(p => p.Item2)]) * 1e3)
                {
                    N = points.Count, Better = "lower",
                });
                if (wholeMix)
                {
                    wholeMix = false;
                    Whole(cells, experiment, map, format, share, mix, batch, decode);
                }
            }
        }
    }

    // Every step of one mix, to say how wrong the integral over five lengths is.
    void Whole(List<Cell> cells, string? experiment, string map, string format, double share, Mix mix, int batch, double integral)
    {
        using LoadedModel again = Load(experiment, format, batch, mix.Total + 8, Math.Max(batch, 16), budget: true);
        using var loop = new StepLoop(again, batch);
        loop.Grow(mix.Prompt);
        loop.Seconds(2);
        double seconds = loop.Seconds(mix.Generate - 2).Sum() * mix.Generate / (mix.Generate - 2);
        cells.Add(new(name, map, format, "integral_error", At(share, mix), "share", (integral - seconds) / seconds)
        {
            N = mix.Generate, Note = string.Create(CultureInfo.InvariantCulture, $"all {mix.Generate} steps took {seconds:F3} s, the integral says {integral:F3} s"),
        });
    }

    LoadedModel Load(string? experiment, string format, int sequences, int context, int rows, bool budget = false)
    {
        int tokens = Math.Min(context, config.MaxPositions);
        LayerSharing sharing = LoadedModel.SharingOf(config, experiment);
        var layout = Formats.Layout(config, sharing, format);
        // What the sequences need, in whole pages and slabs: a budget that is fixed was counted before.
        long bytes = Capacity.Budget(layout, sequences, tokens) + (budget ? 0 : 1 << 20);
        return LoadedModel.Load(folder, new()
        {
            Device = options.Device, Threads = options.Threads, NumericsClass = Numerics.Fast, Sharing = experiment, KvType = format,
            MaxContext = tokens, MaxSequences = sequences, MaxStepTokens = rows, KvBudgetBytes = bytes,
        });
    }
}

/// <summary>How keys and values are kept, by name.</summary>
internal static class Formats
{
    /// <summary>All that the engine knows.</summary>
    public static IReadOnlyList<string> All { get; } = ["f32", "bf16", "f16"];

    /// <summary>Pages of a map in a format.</summary>
    public static KvLayout Layout(ModelConfig config, LayerSharing sharing, string format, int pageTokens = 64) =>
        new(sharing, config.KvHeads, config.HeadDim, Tensors.DTypes.Parse(format), pageTokens);
}
