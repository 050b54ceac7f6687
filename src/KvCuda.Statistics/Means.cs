// Tests of means: Welch's for two samples, Student's for pairs, and McNemar's for pairs of yes and no.
using MathNet.Numerics.Distributions;

namespace KvCuda.Statistics;

/// <summary>A difference of means (second minus first) with its uncertainty.</summary>
/// <param name="Difference">mean of the second less mean of the first</param>
/// <param name="StandardError">of the difference</param>
/// <param name="DegreesOfFreedom">of Student's distribution</param>
/// <param name="Statistic">difference by standard error</param>
/// <param name="PValue">two-sided, of no difference</param>
/// <param name="Interval">of the difference at the confidence asked for</param>
public readonly record struct MeanDifference(
    double Difference, double StandardError, double DegreesOfFreedom, double Statistic, double PValue, Interval Interval)
{
    internal static MeanDifference Of(double difference, double error, double freedom, double confidence)
    {
        Numbers.CheckShare(confidence, nameof(confidence));
        if (error == 0)
        {
            // Two constants: they are equal or they are not, and nothing is uncertain.
            double sign = difference == 0 ? 0 : difference > 0 ? double.PositiveInfinity : double.NegativeInfinity;
            return new(difference, 0, freedom, sign, difference == 0 ? 1 : 0, new(difference, difference));
        }
        double t = difference / error, half = StudentT.InvCDF(0, 1, freedom, 0.5 + (confidence / 2)) * error;
        return new(difference, error, freedom, t, 2 * StudentT.CDF(0, 1, freedom, -Math.Abs(t)),
            new(difference - half, difference + half));
    }
}

/// <summary>What is known of a sample without its numbers.</summary>
/// <param name="Count">numbers</param>
/// <param name="Mean">their mean</param>
/// <param name="Variance">their unbiased variance</param>
public readonly record struct Moments(long Count, double Mean, double Variance)
{
    /// <summary>The moments of a sample of two numbers or more.</summary>
    public static Moments Of(IReadOnlyList<double> sample) => new(sample?.Count ?? 0, Numbers.Mean(sample!), Numbers.Variance(sample!));
}

/// <summary>Welch's t test (Biometrika 34, 1947): two means, variances that may differ.</summary>
public static class Welch
{
    /// <summary>Compares two samples of two numbers or more.</summary>
    /// <param name="a">the first, the reference</param>
    /// <param name="b">the second</param>
    /// <param name="confidence">of the interval; 0.95</param>
    public static MeanDifference Compare(IReadOnlyList<double> a, IReadOnlyList<double> b, double confidence = 0.95) =>
        Compare(Moments.Of(a), Moments.Of(b), confidence);

    /// <summary>The same from means and variances.</summary>
    public static MeanDifference Compare(Moments a, Moments b, double confidence = 0.95)
    {
        if (a.Count < 2 || b.Count < 2)
        {
            throw new ArgumentException($"Both samples need at least 2 numbers; they have {a.Count} and {b.Count}.", nameof(a));
        }
        double va = a.Variance / a.Count, vb = b.Variance / b.Count, error = va + vb;
        double freedom = error == 0 ? a.Count + b.Count - 2
            : error * error / ((va * va / (a.Count - 1)) + (vb * vb / (b.Count - 1)));
        return MeanDifference.Of(b.Mean - a.Mean, Math.Sqrt(error), freedom, confidence);
    }
}

/// <summary>Student's paired t test: the same items under both arms.</summary>
public static class Paired
{
    /// <summary>Compares pairs: item i of both samples is the same item.</summary>
    /// <exception cref="ArgumentException">The samples have different lengths, or fewer than two pairs.</exception>
    public static MeanDifference Compare(IReadOnlyList<double> a, IReadOnlyList<double> b, double confidence = 0.95)
    {
        Numbers.Check(a, 2);
        Numbers.Check(b, 2);
        if (a.Count != b.Count)
        {
            throw new ArgumentException($"Pairs need samples of one length; they have {a.Count} and {b.Count}.", nameof(b));
        }
        double[] differences = [.. a.Zip(b, (x, y) => y - x)];
        return MeanDifference.Of(
            Numbers.Mean(differences), Numbers.StandardError(differences), differences.Length - 1, confidence);
    }
}

/// <summary>McNemar's test, exact: items that only one of two arms gets right.</summary>
public static class McNemar
{
    /// <summary>The two-sided p-value.</summary>
    /// <param name="onlyA">items right under the first arm only</param>
    /// <param name="onlyB">items right under the second arm only</param>
    public static double Exact(int onlyA, int onlyB)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(onlyA);
        ArgumentOutOfRangeException.ThrowIfNegative(onlyB);
        int n = onlyA + onlyB;
        return n == 0 ? 1 : Math.Min(1, 2 * Binomial.CDF(0.5, n, Math.Min(onlyA, onlyB)));
    }
}
