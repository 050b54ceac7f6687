// Always-valid intervals: a running experiment may be looked at as often as one likes.
namespace KvCuda.Statistics;

/// <summary>
/// Asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic
/// confidence sequences", 2021; Robbins' normal mixture). All intervals of one experiment hold together with the stated confidence,
/// so stopping when one excludes zero does not raise the error. The price is width: about 1.5 times the fixed one.
/// </summary>
public static class Sequential
{
    /// <summary>Numbers per arm before which no verdict should be given: the variance is not known well enough.</summary>
    public const int LeastPerArm = 30;

    /// <summary>Difference of two means, second minus first.</summary>
    /// <param name="a">the first, the reference</param>
    /// <param name="b">the second</param>
    /// <param name="planned">numbers of both arms together at which the interval should be tightest</param>
    /// <param name="confidence">0.95, over all looks together</param>
    public static Interval Difference(Moments a, Moments b, long planned, double confidence = 0.95)
    {
        Numbers.CheckShare(confidence, nameof(confidence));
        ArgumentOutOfRangeException.ThrowIfLessThan(planned, 1);
        if (a.Count < LeastPerArm || b.Count < LeastPerArm)
        {
            return new(double.NegativeInfinity, double.PositiveInfinity);
        }
        double n = a.Count + b.Count, alpha = 1 - confidence;
        // The difference as a mean of n terms: their variance is n times the variance of the difference.
        double sigma = Math.Sqrt(n * ((a.Variance / a.Count) + (b.Variance / b.Count)));
        double log = -2 * Math.Log(alpha), rho = Math.Sqrt((log + Math.Log(log) + 1) / planned), nr = n * rho * rho;
        double half = sigma * Math.Sqrt(2 * (nr + 1) / (n * nr) * Math.Log(Math.Sqrt(nr + 1) / alpha));
        return new(b.Mean - a.Mean - half, b.Mean - a.Mean + half);
    }

    /// <inheritdoc cref="Difference(Moments, Moments, long, double)"/>
    public static Interval Difference(IReadOnlyList<double> a, IReadOnlyList<double> b, long planned, double confidence = 0.95) =>
        Difference(Moments.Of(a), Moments.Of(b), planned, confidence);
}
