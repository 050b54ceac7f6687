// What an experiment says at a moment, and how it is judged.
using KvCuda.Statistics;

namespace KvCuda.Extensions;

/// <summary>An arm against the control in one metric.</summary>
/// <param name="Arm">which</param>
/// <param name="Metric">which</param>
/// <param name="Control">the control's value</param>
/// <param name="Value">the arm's value</param>
/// <param name="Units">units of control and arm with a value</param>
/// <param name="Difference">interval of arm less control; infinite where nothing can be said yet</param>
/// <param name="PValue">of no difference, adjusted by Holm over all comparisons; NaN in a sequential experiment</param>
/// <param name="DetectableEffect">the smallest difference that the planned units would find with a power of 0.8; NaN if unknown</param>
/// <param name="Verdict">the outcome</param>
/// <param name="Why">in a sentence</param>
public sealed record ExperimentComparison(string Arm, ExperimentMetric Metric, double Control, double Value, (long Control, long Arm) Units,
    Interval Difference, double PValue, double DetectableEffect, Verdict Verdict, string Why);

/// <summary>The state of an experiment.</summary>
/// <param name="Options">what was fixed before</param>
/// <param name="Arrived">units per arm</param>
/// <param name="SampleRatioPValue">of an assignment that is as it should be</param>
/// <param name="AssignmentBroken">the arms' sizes cannot be by chance: no verdict is given</param>
/// <param name="NotKept">values dropped because the arms hold as many units as may be kept</param>
/// <param name="Comparisons">every arm but the control, every metric</param>
public sealed record ExperimentReport(ExperimentOptions Options, IReadOnlyList<(string Arm, long Units)> Arrived, double SampleRatioPValue,
    bool AssignmentBroken, long NotKept, IReadOnlyList<ExperimentComparison> Comparisons)
{
    /// <summary>Guardrails that are worse for certain: a reason to stop.</summary>
    public IEnumerable<ExperimentComparison> BrokenGuardrails => Comparisons.Where(c => c.Metric.Guardrail && c.Verdict == Verdict.Worse);

    /// <summary>The report as JSON.</summary>
    public string ToJson() => ExperimentPage.Json(this);

    /// <summary>The report as a self-contained HTML page.</summary>
    public string ToHtml() => ExperimentPage.Html(this);
}

/// <summary>From values to verdicts.</summary>
static class ExperimentJudge
{
    sealed record Draft(string Arm, ExperimentMetric Metric, double Control, double Value, (long, long) Units, Interval Interval, double P, double Detectable, bool Ready);

    public static ExperimentReport Judge(ExperimentOptions options, (double Above, double Below)[][][] values, long[] arrived, long notKept)
    {
        double ratio = SampleRatio.Check(arrived, [.. options.Arms.Select(arm => arm.Weight)]);
        int questions = (options.Arms.Count - 1) * options.Metrics.Count;
        List<Draft> drafts = [];
        for (int arm = 1; arm < options.Arms.Count; arm++)
        {
            for (int m = 0; m < options.Metrics.Count; m++)
            {
                drafts.Add(Compare(options, options.Metrics[m], options.Arms[arm].Name, values[0][m], values[arm][m], questions));
            }
        }
        double[] adjusted = new double[drafts.Count];
        Array.Fill(adjusted, double.NaN);
        int[] tested = [.. Enumerable.Range(0, drafts.Count).Where(i => !double.IsNaN(drafts[i].P))];
        double[] holm = Holm.Adjust([.. tested.Select(i => drafts[i].P)]);
        for (int i = 0; i < tested.Length; i++)
        {
            adjusted[tested[i]] = holm[i];
        }
        bool broken = ratio < SampleRatio.Broken;
        return new(options, [.. options.Arms.Select((arm, i) => (arm.Name, arrived[i]))], ratio, broken, notKept,
            [.. drafts.Select((draft, i) => Final(options, draft, adjusted[i], broken))]);
    }

    static ExperimentComparison Final(ExperimentOptions options, Draft draft, double p, bool broken)
    {
        Verdict verdict = Verdict.Inconclusive;
        string why;
        if (broken)
        {
            why = "The arms' sizes cannot be by chance: the assignment or the recording is broken.";
        }
        else if (!draft.Ready)
        {
            why = options.Sequential ? $"Fewer than {Sequential.LeastPerArm} units in an arm."
                : $"Fixed horizon: a verdict comes at {options.PlannedUnitsPerArm} units per arm; looking earlier would raise false alarms.";
        }
        else
        {
            verdict = Verdicts.Judge(draft.Interval, draft.Metric.Margin, draft.Metric.Direction);
            if (verdict is Verdict.Better or Verdict.Worse && p >= options.Alpha)
            {
                verdict = Verdict.Inconclusive;
                why = "The interval excludes zero, but not after correction for the number of questions asked (Holm).";
            }
            else
            {
                why = verdict switch
                {
                    Verdict.Equivalent => "The whole interval lies within the margin.",
                    Verdict.Inconclusive => "The interval holds both no difference and one that matters: more units would be needed.",
                    _ => "The interval excludes zero.",
                };
            }
        }
        return new(draft.Arm, draft.Metric, draft.Control, draft.Value, draft.Units, draft.Interval, p, draft.Detectable, verdict, why);
    }

    static Draft Compare(ExperimentOptions options, ExperimentMetric metric, string arm, (double Above, double Below)[] control,
        (double Above, double Below)[] treated, int questions)
    {
        (long, long) units = (control.Length, treated.Length);
        Interval unknown = new(double.NegativeInfinity, double.PositiveInfinity);
        if (control.Length < 2 || treated.Length < 2)
        {
            double planned = metric.ExpectedDeviation is { } deviation
                ? Power.DetectableEffect(deviation, options.PlannedUnitsPerArm, options.PlannedUnitsPerArm, options.Alpha) : double.NaN;
            return new(arm, metric, double.NaN, double.NaN, units, unknown, double.NaN, planned, false);
        }
        Moments a = MomentsOf(metric, control), b = MomentsOf(metric, treated);
        double detectable = Power.DetectableEffect(metric.ExpectedDeviation ?? Math.Sqrt((a.Variance + b.Variance) / 2),
            options.PlannedUnitsPerArm, options.PlannedUnitsPerArm, options.Alpha);
        if (options.Sequential)
        {
            // Bonferroni over the questions: always-valid intervals have no p-values to order.
            Interval always = Sequential.Difference(a, b, 2 * options.PlannedUnitsPerArm, 1 - (options.Alpha / questions));
            return new(arm, metric, a.Mean, b.Mean, units, always, double.NaN, detectable, double.IsFinite(always.Low));
        }
        bool ready = Math.Min(control.Length, treated.Length) >= options.PlannedUnitsPerArm;
        if (metric.Kind == MetricKind.Mean)
        {
            MeanDifference test = Welch.Compare(a, b, 1 - options.Alpha);
            return new(arm, metric, a.Mean, b.Mean, units, test.Interval, ready ? test.PValue : double.NaN, detectable, ready);
        }
        // Ratios and percentiles: seeded bootstrap over units. Only once, when it counts: it costs time.
        if (!ready)
        {
            return new(arm, metric, Value(metric, control), Value(metric, treated), units, unknown, double.NaN,
                metric.Kind == MetricKind.Percentile ? double.NaN : detectable, false);
        }
        BootstrapEstimate estimate = metric.Kind == MetricKind.Ratio
            ? Bootstrap.RatioOfTotals(control, treated, confidence: 1 - options.Alpha)
            : Bootstrap.PercentileDifference([.. control.Select(Mean)], [.. treated.Select(Mean)], metric.Percentile, confidence: 1 - options.Alpha);
        double p = estimate.StandardError == 0 ? estimate.Value == 0 ? 1 : 0
            : Welch.Compare(new Moments(1_000_000, 0, 0), new Moments(1_000_000, estimate.Value, estimate.StandardError * estimate.StandardError * 1_000_000)).PValue;
        return new(arm, metric, Value(metric, control), Value(metric, treated), units, estimate.Interval, p,
            metric.Kind == MetricKind.Percentile ? double.NaN : detectable, true);
    }

    static double Mean((double Above, double Below) unit) => unit.Above / unit.Below;

    static double Value(ExperimentMetric metric, (double Above, double Below)[] units) => metric.Kind switch
    {
        MetricKind.Ratio => units.Sum(u => u.Below) is var below && below == 0 ? 0 : units.Sum(u => u.Above) / below,
        MetricKind.Percentile => Numbers.Quantile([.. units.Select(Mean)], metric.Percentile),
        _ => Numbers.Mean([.. units.Select(Mean)]),
    };

    // Of a ratio the linearised values (delta method), whose mean is the ratio.
    static Moments MomentsOf(ExperimentMetric metric, (double Above, double Below)[] units)
    {
        if (metric.Kind != MetricKind.Ratio)
        {
            return Moments.Of([.. units.Select(Mean)]);
        }
        double ratio = Value(metric, units), below = units.Average(u => u.Below);
        return below == 0 ? new(units.Length, 0, 0) : Moments.Of([.. units.Select(u => ratio + ((u.Above - (ratio * u.Below)) / below))]);
    }
}
