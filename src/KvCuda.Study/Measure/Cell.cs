// One figure of a study, a bench or a comparison: what was measured, of what, how often, and how sure it is.
using System.Globalization;
using System.Text.Json.Serialization;

namespace KvCuda.Study;

/// <summary>
/// A figure. The first five members name it: two results of the same cell can be compared. Schema: docs/study.md.
/// </summary>
/// <param name="Model">folder name or shape; "machine" for what belongs to none</param>
/// <param name="Map">the sharing map in its own notation; "" where none is meant</param>
/// <param name="Format">how keys and values are kept; "" where none is meant</param>
/// <param name="Measure">what was measured: decode_tokens_per_s, perplexity, ...</param>
/// <param name="At">under which conditions, as <c>batch=8 context=512</c> or a text's name</param>
/// <param name="Unit">of the value</param>
/// <param name="Value">median of the samples, or the exact value</param>
internal sealed record Cell(string Model, string Map, string Format, string Measure, string At, string Unit, double Value)
{
    /// <summary>Standard error of the value; NaN where none applies.</summary>
    public double Error { get; init; } = double.NaN;

    /// <summary>How many numbers it was made of.</summary>
    public long N { get; init; } = 1;

    /// <summary>Known without measuring: bytes, batches.</summary>
    public bool Exact { get; init; }

    /// <summary>Which way is good: "higher", "lower" or "".</summary>
    public string Better { get; init; } = "";

    /// <summary>p-value of no difference from the reference map; NaN where there is none.</summary>
    public double P { get; init; } = double.NaN;

    /// <summary>What a reader must know.</summary>
    public string Note { get; init; } = "";

    /// <summary>The raw samples, in the order in which they came.</summary>
    public IReadOnlyList<double> Samples { get; init; } = [];

    /// <summary>What it is found by.</summary>
    [JsonIgnore]
    public string Key => string.Join('|', Model, Map, Format, Measure, At);

    /// <summary>A figure of timed samples: median, and its standard error from their spread.</summary>
    public static Cell Of(string model, string map, string format, string measure, string at, string unit, string better,
        IReadOnlyList<double> samples) => new(model, map, format, measure, at, unit, Study.Samples.MedianOf(samples))
    {
        N = samples.Count, Better = better, Samples = [.. samples],
        // 1.2533 = sqrt(pi / 2): standard error of a median of normal numbers.
        Error = samples.Count < 2 ? double.NaN : 1.2533 * Statistics.Numbers.StandardError(samples),
    };

    /// <summary>Value and standard error as people read them.</summary>
    public string Text => double.IsNaN(Error) || Error == 0 ? Number(Value) : $"{Number(Value)} ± {Number(Error)}";

    /// <summary>Three or four digits.</summary>
    public static string Number(double value) => double.IsNaN(value) ? "" : value.ToString(
        Math.Abs(value) switch
        {
            0 => "0",
            >= 1000 => "#,0",
            >= 100 => "0.#",
            >= 10 => "0.##",
            >= 1 => "0.###",
            >= 0.001 => "0.####",
            _ => "0.00e0",
        }, CultureInfo.InvariantCulture);
}
