// What an experiment compares, by what it is judged, and for how long it runs.
using KvCuda.Statistics;

namespace KvCuda.Extensions;

/// <summary>How values of a metric become one number per arm.</summary>
public enum MetricKind
{
    /// <summary>The mean over units; a unit's value is the mean of what was recorded for it.</summary>
    Mean,

    /// <summary>Sum of numerators by sum of denominators: cached tokens by prompt tokens.</summary>
    Ratio,

    /// <summary>A percentile over units.</summary>
    Percentile,
}

/// <summary>A metric of your own: a name, which way is good, and the smallest difference that matters.</summary>
/// <param name="Name">as in <see cref="Experiment.Record(string, string, double)"/></param>
/// <param name="Direction">which way is good</param>
/// <param name="Margin">the smallest difference that matters, in the metric's own units; above 0</param>
public sealed record ExperimentMetric(string Name, Direction Direction, double Margin)
{
    /// <summary>Mean unless said otherwise.</summary>
    public MetricKind Kind { get; init; }

    /// <summary>Of <see cref="MetricKind.Percentile"/>: 0.95, 0.99.</summary>
    public double Percentile { get; init; } = 0.95;

    /// <summary>Nobody hopes for a gain here, but it must not get worse: errors, p99, quality.</summary>
    public bool Guardrail { get; init; }

    /// <summary>Standard deviation of one unit's value, if it is known before: then the detectable effect is, too.</summary>
    public double? ExpectedDeviation { get; init; }
}

/// <summary>An experiment, fixed before it begins.</summary>
public sealed record ExperimentOptions
{
    /// <summary>For people, and a part of the assignment: another name assigns anew.</summary>
    public required string Name { get; init; }

    /// <summary>Arms and their weights. The first is the control.</summary>
    public IReadOnlyList<(string Name, double Weight)> Arms { get; init; } = [("control", 1), ("treatment", 1)];

    /// <summary>By what the arms are judged.</summary>
    public required IReadOnlyList<ExperimentMetric> Metrics { get; init; }

    /// <summary>Units per arm after which a fixed-horizon experiment gives its verdicts, and at which a sequential one is sharpest.</summary>
    public required long PlannedUnitsPerArm { get; init; }

    /// <summary>
    /// Verdicts at any time, by intervals that stay valid however often they are looked at, and are wider for it. Default: none before
    /// the planned number of units.
    /// </summary>
    public bool Sequential { get; init; }

    /// <summary>Chance of any false verdict, over all metrics and arms together.</summary>
    public double Alpha { get; init; } = 0.05;

    /// <summary>Most units whose values are kept per arm; later ones are assigned and counted only.</summary>
    public int MostUnits { get; init; } = 100_000;

    internal void Validate()
    {
        if (string.IsNullOrWhiteSpace(Name) || Arms.Count < 2 || Arms.Select(arm => arm.Name).Distinct().Count() != Arms.Count
            || Arms.Any(arm => string.IsNullOrEmpty(arm.Name) || !(arm.Weight > 0) || !double.IsFinite(arm.Weight)))
        {
            throw new InvalidRequestException("An experiment has a name and two arms or more, each with a name of its own and a weight above 0.");
        }
        if (Metrics.Count == 0 || Metrics.Select(metric => metric.Name).Distinct().Count() != Metrics.Count
            || Metrics.Any(metric => string.IsNullOrEmpty(metric.Name) || !(metric.Margin > 0) || metric.Percentile is not (> 0 and < 1)))
        {
            throw new InvalidRequestException("An experiment has one metric or more, each with a name of its own, a margin above 0 and a percentile between 0 and 1.");
        }
        if (PlannedUnitsPerArm < 2 || Alpha is not (> 0 and < 0.5) || MostUnits < 2)
        {
            throw new InvalidRequestException($"An experiment plans 2 units per arm or more with an alpha between 0 and 0.5; {PlannedUnitsPerArm} and {Alpha} were given.");
        }
        if (Sequential && Metrics.FirstOrDefault(metric => metric.Kind == MetricKind.Percentile) is { } percentile)
        {
            throw new InvalidRequestException($"The metric {percentile.Name} is a percentile, for which there is no always-valid interval here: use a fixed horizon, or its mean.");
        }
    }
}
