// Checks around an experiment: many questions at once, a broken assignment, and how small an effect can be seen.
using MathNet.Numerics.Distributions;

namespace KvCuda.Statistics;

/// <summary>Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979) for several questions of one experiment.</summary>
public static class Holm
{
    /// <summary>Adjusted p-values, in the order given: compare each with alpha.</summary>
    public static double[] Adjust(IReadOnlyList<double> pValues)
    {
        ArgumentNullException.ThrowIfNull(pValues);
        int[] order = [.. Enumerable.Range(0, pValues.Count).OrderBy(i => pValues[i])];
        double[] adjusted = new double[pValues.Count];
        double most = 0;
        for (int rank = 0; rank < order.Length; rank++)
        {
            double p = pValues[order[rank]];
            if (p is not (>= 0 and <= 1))
            {
                throw new ArgumentException($"A p-value lies between 0 and 1; number {order[rank]} is {p}.", nameof(pValues));
            }
            most = Math.Max(most, Math.Min(1, (order.Length - rank) * p));
            adjusted[order[rank]] = most;
        }
        return adjusted;
    }
}

/// <summary>Sample-ratio mismatch: do the arms have the sizes that the assignment should give?</summary>
public static class SampleRatio
{
    /// <summary>Below this p-value the assignment is taken for broken (Fabijan et al., KDD 2019).</summary>
    public const double Broken = 0.0005;

    /// <summary>p-value of the chi-square test of counts against weights.</summary>
    /// <param name="counts">units that arrived in each arm</param>
    /// <param name="weights">the share meant for each, in any scale; null: equal</param>
    public static double Check(IReadOnlyList<long> counts, IReadOnlyList<double>? weights = null)
    {
        ArgumentNullException.ThrowIfNull(counts);
        if (counts.Count < 2 || (weights is not null && weights.Count != counts.Count))
        {
            throw new ArgumentException($"Two arms or more are needed, with a weight each; there are {counts.Count} counts and "
                + $"{weights?.Count ?? counts.Count} weights.", nameof(counts));
        }
        if (counts.Any(count => count < 0) || weights?.Any(weight => !(weight > 0) || !double.IsFinite(weight)) == true)
        {
            throw new ArgumentException("Counts are 0 or more, and weights above 0.", nameof(counts));
        }
        double all = counts.Sum(), weight = weights?.Sum() ?? counts.Count, chi = 0;
        if (all == 0)
        {
            return 1;
        }
        for (int i = 0; i < counts.Count; i++)
        {
            double expected = all * (weights?[i] ?? 1) / weight;
            chi += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        return 1 - ChiSquared.CDF(counts.Count - 1, chi);
    }
}

/// <summary>Sizes of samples and of effects, for two-sided tests of two means.</summary>
public static class Power
{
    /// <summary>The smallest true difference of means that is found with the stated power.</summary>
    /// <param name="deviation">standard deviation of one number</param>
    /// <param name="countA">numbers in the first arm</param>
    /// <param name="countB">numbers in the second arm</param>
    /// <param name="alpha">0.05</param>
    /// <param name="power">0.8</param>
    public static double DetectableEffect(double deviation, long countA, long countB, double alpha = 0.05, double power = 0.8)
    {
        if (countA < 2 || countB < 2)
        {
            return double.PositiveInfinity;
        }
        // Student's quantiles in the place of the normal ones: exact enough from a handful of numbers on.
        double freedom = countA + countB - 2, t = Quantiles(alpha, power, p => StudentT.InvCDF(0, 1, freedom, p));
        return t * deviation * Math.Sqrt((1.0 / countA) + (1.0 / countB));
    }

    /// <summary>Numbers per arm for a difference to be found, by the normal formula with Guenther's correction (1981).</summary>
    public static double SampleSize(double deviation, double effect, double alpha = 0.05, double power = 0.8)
    {
        if (!(Math.Abs(effect) > 0) || !(deviation >= 0))
        {
            throw new ArgumentException($"An effect other than 0 and a deviation are needed; {effect} and {deviation} were given.", nameof(effect));
        }
        double z = Quantiles(alpha, power, p => Normal.InvCDF(0, 1, p)), half = Normal.InvCDF(0, 1, 1 - (alpha / 2));
        return (2 * z * z * deviation * deviation / (effect * effect)) + (half * half / 4);
    }

    static double Quantiles(double alpha, double power, Func<double, double> quantile)
    {
        Numbers.CheckShare(alpha, nameof(alpha));
        Numbers.CheckShare(power, nameof(power));
        return quantile(1 - (alpha / 2)) + quantile(power);
    }
}
