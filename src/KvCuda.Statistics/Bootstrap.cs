// Bootstrap intervals for what has no formula: ratios, percentiles, any statistic. Seeded, so that a result repeats.
namespace KvCuda.Statistics;

/// <summary>An estimate with a bootstrap standard error and interval.</summary>
/// <param name="Value">the statistic of the samples themselves</param>
/// <param name="StandardError">standard deviation over the resamples</param>
/// <param name="Interval">percentile interval (Efron and Tibshirani 1993, chapter 13)</param>
/// <param name="Resamples">how many</param>
public readonly record struct BootstrapEstimate(double Value, double StandardError, Interval Interval, int Resamples);

/// <summary>Resampling with replacement. The same seed gives the same answer on every machine.</summary>
public static class Bootstrap
{
    /// <summary>A statistic of one sample.</summary>
    /// <param name="sample">the numbers</param>
    /// <param name="statistic">of a sample that is sorted from small to large</param>
    /// <param name="seed">of the resampling</param>
    /// <param name="confidence">of the interval</param>
    /// <param name="resamples">2000</param>
    public static BootstrapEstimate Of(IReadOnlyList<double> sample, Func<double[], double> statistic, ulong seed = 1,
        double confidence = 0.95, int resamples = 2000)
    {
        ArgumentNullException.ThrowIfNull(statistic);
        Numbers.Check(sample, 2);
        double[] drawn = new double[sample.Count];
        return Run(seed, confidence, resamples, statistic(Sorted(sample)), random => statistic(Draw(sample, drawn, random)));
    }

    /// <summary>Difference of a percentile, second minus first.</summary>
    /// <param name="a">the first, the reference</param>
    /// <param name="b">the second</param>
    /// <param name="percentile">0 to 1: 0.99 is p99</param>
    /// <param name="seed">of the resampling</param>
    /// <param name="confidence">of the interval</param>
    /// <param name="resamples">2000</param>
    public static BootstrapEstimate PercentileDifference(IReadOnlyList<double> a, IReadOnlyList<double> b, double percentile,
        ulong seed = 1, double confidence = 0.95, int resamples = 2000) =>
        Two(a, b, (x, y) => Numbers.QuantileOfSorted(y, percentile) - Numbers.QuantileOfSorted(x, percentile), seed, confidence, resamples);

    /// <summary>Ratio of two means, second by first.</summary>
    public static BootstrapEstimate RatioOfMeans(IReadOnlyList<double> a, IReadOnlyList<double> b, ulong seed = 1,
        double confidence = 0.95, int resamples = 2000) =>
        Two(a, b, (x, y) => Numbers.Mean(y) / Numbers.Mean(x), seed, confidence, resamples);

    /// <summary>Ratio of two medians, second by first.</summary>
    public static BootstrapEstimate RatioOfMedians(IReadOnlyList<double> a, IReadOnlyList<double> b, ulong seed = 1,
        double confidence = 0.95, int resamples = 2000) =>
        Two(a, b, (x, y) => Numbers.QuantileOfSorted(y, 0.5) / Numbers.QuantileOfSorted(x, 0.5), seed, confidence, resamples);

    /// <summary>
    /// Difference of a ratio metric (second minus first): sum of numerators by sum of denominators, as in cached tokens by prompt
    /// tokens. Units (requests, sessions, users) are resampled whole, so numbers of one unit may depend on each other.
    /// </summary>
    public static BootstrapEstimate RatioOfTotals(IReadOnlyList<(double Numerator, double Denominator)> a,
        IReadOnlyList<(double Numerator, double Denominator)> b, ulong seed = 1, double confidence = 0.95, int resamples = 2000)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        Numbers.Check([.. a.SelectMany(x => new[] { x.Numerator, x.Denominator })], 4);
        Numbers.Check([.. b.SelectMany(x => new[] { x.Numerator, x.Denominator })], 4);
        return Run(seed, confidence, resamples, Ratio(b, null) - Ratio(a, null), random => Ratio(b, random) - Ratio(a, random));
    }

    /// <summary>A mean of paired differences, with pairs resampled whole (documents, prompts).</summary>
    public static BootstrapEstimate PairedMeanDifference(IReadOnlyList<double> a, IReadOnlyList<double> b, ulong seed = 1,
        double confidence = 0.95, int resamples = 2000)
    {
        Numbers.Check(a, 2);
        Numbers.Check(b, 2);
        return a.Count != b.Count
            ? throw new ArgumentException($"Pairs need samples of one length; they have {a.Count} and {b.Count}.", nameof(b))
            : Of([.. a.Zip(b, (x, y) => y - x)], sorted => Numbers.Mean(sorted), seed, confidence, resamples);
    }

    static BootstrapEstimate Two(IReadOnlyList<double> a, IReadOnlyList<double> b, Func<double[], double[], double> statistic,
        ulong seed, double confidence, int resamples)
    {
        Numbers.Check(a, 2);
        Numbers.Check(b, 2);
        double[] x = new double[a.Count], y = new double[b.Count];
        return Run(seed, confidence, resamples, statistic(Sorted(a), Sorted(b)),
            random => statistic(Draw(a, x, random), Draw(b, y, random)));
    }

    static BootstrapEstimate Run(ulong seed, double confidence, int resamples, double value, Func<SeededRandom, double> one)
    {
        Numbers.CheckShare(confidence, nameof(confidence));
        ArgumentOutOfRangeException.ThrowIfLessThan(resamples, 100);
        var random = new SeededRandom(seed);
        double[] values = new double[resamples];
        for (int i = 0; i < resamples; i++)
        {
            values[i] = one(random);
        }
        Array.Sort(values);
        double tail = (1 - confidence) / 2;
        return new(value, Math.Sqrt(Numbers.Variance(values)),
            new(Numbers.QuantileOfSorted(values, tail), Numbers.QuantileOfSorted(values, 1 - tail)), resamples);
    }

    static double[] Draw(IReadOnlyList<double> from, double[] to, SeededRandom random)
    {
        for (int i = 0; i < to.Length; i++)
        {
            to[i] = from[random.Next(from.Count)];
        }
        Array.Sort(to);
        return to;
    }

    static double Ratio(IReadOnlyList<(double Numerator, double Denominator)> units, SeededRandom? random)
    {
        double above = 0, below = 0;
        for (int i = 0; i < units.Count; i++)
        {
            (double numerator, double denominator) = units[random?.Next(units.Count) ?? i];
            above += numerator;
            below += denominator;
        }
        return below == 0 ? 0 : above / below;
    }

    static double[] Sorted(IReadOnlyList<double> sample)
    {
        double[] sorted = [.. sample];
        Array.Sort(sorted);
        return sorted;
    }
}

/// <summary>SplitMix64: the same numbers on every run time (System.Random promises that for no seed).</summary>
internal sealed class SeededRandom(ulong seed)
{
    ulong state = seed;

    public int Next(int below) => (int)(((UInt128)NextBits() * (ulong)below) >> 64);

    ulong NextBits()
    {
        ulong z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
