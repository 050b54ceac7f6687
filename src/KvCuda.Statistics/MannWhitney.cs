// The Mann-Whitney U test: two distributions of any shape.
using MathNet.Numerics.Distributions;
using Perfolizer.Mathematics.SignificanceTesting.MannWhitney;
using Pragmastat;

namespace KvCuda.Statistics;

/// <summary>What the ranks of two samples say.</summary>
/// <param name="U">pairs in which the first is larger, ties counted half</param>
/// <param name="PValue">two-sided, of equal distributions</param>
/// <param name="PLess">one-sided: small if the first tends to be smaller</param>
/// <param name="PGreater">one-sided: small if the first tends to be larger</param>
/// <param name="Shift">Hodges-Lehmann estimate: the median of all differences, second minus first</param>
/// <param name="Superiority">share of pairs in which the second is larger, ties counted half</param>
public readonly record struct RankComparison(
    double U, double PValue, double PLess, double PGreater, double Shift, double Superiority);

/// <summary>Mann and Whitney, Annals of Mathematical Statistics 18, 1947.</summary>
public static class MannWhitney
{
    const int ExactUpTo = 50;

    /// <summary>
    /// Compares two samples. The p-value is exact for samples of up to 50 numbers without ties; else the normal approximation with
    /// corrections for ties and continuity, as in R.
    /// </summary>
    public static RankComparison Compare(IReadOnlyList<double> a, IReadOnlyList<double> b)
    {
        Numbers.Check(a, 1);
        Numbers.Check(b, 1);
        (double u, double tied) = Rank(a, b);
        double pairs = (double)a.Count * b.Count, less, greater;
        if (tied == 0 && a.Count <= ExactUpTo && b.Count <= ExactUpTo)
        {
            IMannWhitneyCdf exact = MannWhitneyLoefflerExactCdf.Instance;
            int whole = (int)u;
            // Cdf(.., u) is the probability of less than u; U is symmetric about half the pairs.
            less = exact.Cdf(a.Count, b.Count, whole + 1);
            greater = exact.Cdf(a.Count, b.Count, (int)pairs - whole + 1);
        }
        else
        {
            double n = a.Count + b.Count, sigma = Math.Sqrt(pairs / 12 * (n + 1 - (tied / (n * (n - 1)))));
            less = sigma == 0 ? 1 : Normal.CDF(0, 1, (u - (pairs / 2) + 0.5) / sigma);
            greater = sigma == 0 ? 1 : Normal.CDF(0, 1, -(u - (pairs / 2) - 0.5) / sigma);
        }
        double shift = new Sample([.. b]).Shift(new Sample([.. a])).NominalValue;
        return new(u, Math.Min(1, 2 * Math.Min(less, greater)), Math.Min(1, less), Math.Min(1, greater), shift, 1 - (u / pairs));
    }

    // U of the first, and the sum of t^3 - t over groups of t ties.
    static (double U, double Tied) Rank(IReadOnlyList<double> a, IReadOnlyList<double> b)
    {
        (double Value, bool First)[] all = [.. a.Select(x => (x, true)), .. b.Select(x => (x, false))];
        Array.Sort(all, (x, y) => x.Value.CompareTo(y.Value));
        double ranks = 0, tied = 0;
        for (int from = 0, to; from < all.Length; from = to)
        {
            int firsts = 0;
            for (to = from; to < all.Length && all[to].Value == all[from].Value; to++)
            {
                firsts += all[to].First ? 1 : 0;
            }
            double t = to - from;
            ranks += firsts * ((from + to + 1) / 2.0);
            tied += (t * t * t) - t;
        }
        return (ranks - (a.Count * (a.Count + 1.0) / 2), tied);
    }
}
