// Checks that every test makes of its samples, and their mean, variance and quantiles.
namespace KvCuda.Statistics;

/// <summary>Count, mean, variance and quantiles of a sample.</summary>
public static class Numbers
{
    /// <summary>The arithmetic mean.</summary>
    /// <exception cref="ArgumentException">The sample is empty or holds a number that is not finite.</exception>
    public static double Mean(IReadOnlyList<double> sample)
    {
        Check(sample, 1);
        double mean = 0;
        for (int i = 0; i < sample.Count; i++)
        {
            mean += (sample[i] - mean) / (i + 1);
        }
        return mean;
    }

    /// <summary>The unbiased variance (divided by n - 1).</summary>
    /// <exception cref="ArgumentException">There are fewer than two numbers, or one is not finite.</exception>
    public static double Variance(IReadOnlyList<double> sample)
    {
        Check(sample, 2);
        // Welford: one pass, no cancellation.
        double mean = 0, squares = 0;
        for (int i = 0; i < sample.Count; i++)
        {
            double before = sample[i] - mean;
            mean += before / (i + 1);
            squares += before * (sample[i] - mean);
        }
        return squares / (sample.Count - 1);
    }

    /// <summary>Standard error of the mean.</summary>
    public static double StandardError(IReadOnlyList<double> sample) => Math.Sqrt(Variance(sample) / sample.Count);

    /// <summary>The median.</summary>
    public static double Median(IReadOnlyList<double> sample) => Quantile(sample, 0.5);

    /// <summary>A quantile by linear interpolation (type 7 of Hyndman and Fan 1996, the default of R).</summary>
    /// <param name="sample">at least one number, in any order</param>
    /// <param name="share">0 to 1</param>
    public static double Quantile(IReadOnlyList<double> sample, double share)
    {
        Check(sample, 1);
        double[] sorted = [.. sample];
        Array.Sort(sorted);
        return QuantileOfSorted(sorted, share);
    }

    internal static double QuantileOfSorted(double[] sorted, double share)
    {
        if (share is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"A quantile between 0 and 1 is needed; {share} was given.", nameof(share));
        }
        double at = (sorted.Length - 1) * share;
        int low = (int)at, high = Math.Min(low + 1, sorted.Length - 1);
        return sorted[low] + ((at - low) * (sorted[high] - sorted[low]));
    }

    internal static void Check(IReadOnlyList<double> sample, int least)
    {
        ArgumentNullException.ThrowIfNull(sample);
        if (sample.Count < least)
        {
            throw new ArgumentException($"At least {least} numbers are needed; there are {sample.Count}.", nameof(sample));
        }
        for (int i = 0; i < sample.Count; i++)
        {
            if (!double.IsFinite(sample[i]))
            {
                throw new ArgumentException($"Number {i} of the sample is {sample[i]}; only finite numbers can be judged.", nameof(sample));
            }
        }
    }

    internal static void CheckShare(double share, string name)
    {
        if (share is not (> 0 and < 1))
        {
            throw new ArgumentException($"{name} must lie between 0 and 1; {share} was given.", name);
        }
    }
}

/// <summary>A range that holds the true value with the stated confidence.</summary>
/// <param name="Low">lower end; may be negative infinity</param>
/// <param name="High">upper end; may be positive infinity</param>
public readonly record struct Interval(double Low, double High)
{
    /// <summary>Whether a value lies in it, ends included.</summary>
    public bool Contains(double value) => value >= Low && value <= High;

    /// <summary>Whether it lies strictly between two values.</summary>
    public bool Inside(double low, double high) => Low > low && High < high;
}
