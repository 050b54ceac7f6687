// Two one-sided tests (TOST): are two samples the same for all that matters?
using MathNet.Numerics.Distributions;

namespace KvCuda.Statistics;

/// <summary>Two one-sided tests against a margin on either side.</summary>
/// <param name="PLower">small: the second is not lower than the first by the margin or more</param>
/// <param name="PUpper">small: the second is not higher than the first by the margin or more</param>
public readonly record struct EquivalenceResult(double PLower, double PUpper)
{
    /// <summary>p-value of "they differ by the margin or more": equivalent where it is below alpha.</summary>
    public double PValue => Math.Max(PLower, PUpper);
}

/// <summary>Schuirmann's two one-sided tests (Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).</summary>
public static class Equivalence
{
    /// <summary>Of means, with Welch's test.</summary>
    /// <param name="a">the first, the reference</param>
    /// <param name="b">the second</param>
    /// <param name="margin">the smallest difference that matters, in the units of the samples, above 0</param>
    public static EquivalenceResult Welch(IReadOnlyList<double> a, IReadOnlyList<double> b, double margin) =>
        Welch(Moments.Of(a), Moments.Of(b), margin);

    /// <summary>The same from means and variances.</summary>
    public static EquivalenceResult Welch(Moments a, Moments b, double margin)
    {
        CheckMargin(margin);
        MeanDifference test = Statistics.Welch.Compare(a, b);
        if (test.StandardError == 0)
        {
            return new(test.Difference > -margin ? 0 : 1, test.Difference < margin ? 0 : 1);
        }
        double P(double t) => StudentT.CDF(0, 1, test.DegreesOfFreedom, t);
        return new(P(-(test.Difference + margin) / test.StandardError), P((test.Difference - margin) / test.StandardError));
    }

    /// <summary>Of locations, with Mann-Whitney's test: one sample is shifted by the margin, then by its opposite.</summary>
    public static EquivalenceResult MannWhitney(IReadOnlyList<double> a, IReadOnlyList<double> b, double margin)
    {
        CheckMargin(margin);
        ArgumentNullException.ThrowIfNull(b);
        return new(
            Statistics.MannWhitney.Compare(a, [.. b.Select(x => x + margin)]).PLess,
            Statistics.MannWhitney.Compare(a, [.. b.Select(x => x - margin)]).PGreater);
    }

    static void CheckMargin(double margin)
    {
        if (!(margin > 0) || !double.IsFinite(margin))
        {
            throw new ArgumentException($"A margin above 0 is needed: the smallest difference that matters. {margin} was given.", nameof(margin));
        }
    }
}
