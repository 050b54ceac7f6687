// Every function of KvCuda.Statistics against a published worked example.
using KvCuda.Statistics;

namespace KvCuda.Tests.Statistics;

public class WorkedExampleTests
{
    // Student 1908, after Cushny and Peebles 1905: extra hours of sleep; R's data set "sleep".
    static readonly double[] sleepA = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
    static readonly double[] sleepB = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];

    // Hollander and Wolfe 1973, page 69: permeability constants of placental membranes; R's help of wilcox.test.
    static readonly double[] term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    static readonly double[] early = [1.15, 0.88, 0.90, 0.74, 1.21];

    // Efron and Tibshirani 1993, table 2.1: survival of mice in days.
    static readonly double[] treated = [94, 197, 16, 38, 99, 141, 23];

    [Fact]
    public void Welch_of_the_sleep_data_is_what_R_prints()
    {
        // t.test(extra ~ group): t = -1.8608, df = 17.776, p-value = 0.07939, interval -3.3654832 to 0.2054832 (first less second)
        MeanDifference test = Welch.Compare(sleepA, sleepB);
        Assert.Equal(1.8608, test.Statistic, 4);
        Assert.Equal(17.776, test.DegreesOfFreedom, 3);
        Assert.Equal(0.07939, test.PValue, 5);
        Assert.Equal(-0.2054832, test.Interval.Low, 6);
        Assert.Equal(3.3654832, test.Interval.High, 6);
    }

    [Fact]
    public void The_paired_test_of_the_sleep_data_is_what_R_prints()
    {
        // t.test(Pair(..) ~ 1): t = -4.0621, df = 9, p-value = 0.002833
        MeanDifference test = Paired.Compare(sleepA, sleepB);
        Assert.Equal(4.0621, test.Statistic, 4);
        Assert.Equal(9, test.DegreesOfFreedom);
        Assert.Equal(0.002833, test.PValue, 6);
    }

    [Fact]
    public void Mann_and_Whitney_without_ties_is_exact()
    {
        // wilcox.test(x, y, alternative = "g"): W = 35, p-value = 0.1272
        RankComparison test = MannWhitney.Compare(term, early);
        Assert.Equal(35, test.U);
        Assert.Equal(0.1272, test.PGreater, 4);
        Assert.Equal(0.2544, test.PValue, 4);
        Assert.Equal(0.3, test.Superiority, 10);
        Assert.Equal(-0.305, test.Shift, 3); // Hollander and Wolfe, page 75
        // By hand: of the six orders of 2 and 2 numbers, one has U = 0, and one has U = 4.
        RankComparison small = MannWhitney.Compare([1.0, 2], [3.0, 4]);
        Assert.Equal(1 / 6.0, small.PLess, 10);
        Assert.Equal(1, small.PGreater, 10);
        Assert.Equal(2 / 6.0, small.PValue, 10);
    }

    [Fact]
    public void Mann_and_Whitney_with_ties_is_what_R_prints()
    {
        // wilcox.test(extra ~ group): W = 25.5, p-value = 0.06933
        RankComparison test = MannWhitney.Compare(sleepA, sleepB);
        Assert.Equal(25.5, test.U);
        Assert.Equal(0.06933, test.PValue, 5);
    }

    [Fact]
    public void The_bootstrap_finds_the_standard_errors_of_the_mouse_data()
    {
        // Efron and Tibshirani, table 2.1, infinitely many resamples: 23.36 for the mean, 37.83 for the median
        Assert.Equal(23.36, Bootstrap.Of(treated, sorted => sorted.Average(), resamples: 20_000).StandardError, 0.5);
        BootstrapEstimate median = Bootstrap.Of(treated, sorted => sorted[3], resamples: 20_000);
        Assert.Equal(94, median.Value);
        Assert.Equal(37.83, median.StandardError, 0.8);
    }

    [Fact]
    public void A_bootstrap_repeats_for_its_seed_and_only_for_it()
    {
        double[] a = [.. Enumerable.Range(0, 50).Select(i => (double)(i * i % 37))], b = [.. a.Select(x => x + 3)];
        BootstrapEstimate one = Bootstrap.PercentileDifference(a, b, 0.9, seed: 5);
        Assert.Equal(one, Bootstrap.PercentileDifference(a, b, 0.9, seed: 5));
        Assert.NotEqual(one, Bootstrap.PercentileDifference(a, b, 0.9, seed: 6));
        Assert.Equal(3, one.Value, 10);
        Assert.True(one.Interval.Contains(3));
    }

    [Fact]
    public void A_ratio_of_totals_weighs_units_by_their_size()
    {
        // A unit of 900 tokens counts 900 times one of 1: the ratio is 450/901, not the mean of the ratios.
        (double, double)[] a = [(450, 900), (0, 1)], b = [(450, 900), (1, 1)];
        Assert.Equal(1.0 / 901, Bootstrap.RatioOfTotals(a, b).Value, 12);
    }

    [Fact]
    public void Two_one_sided_tests_are_what_Lakens_prints()
    {
        // Lakens 2017 (Social Psychological and Personality Science 8), Eskine 2013: bounds of 0.384, t(182) = -2.69, p = .004
        Moments a = new(95, 5.25, 0.95 * 0.95), b = new(89, 5.22, 0.83 * 0.83);
        EquivalenceResult test = Equivalence.Welch(b, a, 0.384);
        Assert.Equal(0.004, test.PValue, 3);
        Assert.Equal(test.PValue, test.PUpper);
        Assert.InRange(test.PLower, 0.0008, 0.0010);
    }

    [Fact]
    public void Ranks_call_equal_samples_equivalent_and_shifted_ones_not()
    {
        double[] a = [.. Enumerable.Range(0, 20).Select(i => 100 + (i * 7 % 20 * 0.1))];
        Assert.True(Equivalence.MannWhitney(a, [.. a.Select(x => x + 0.05)], 5).PValue < 0.001);
        Assert.True(Equivalence.MannWhitney(a, [.. a.Select(x => x + 7)], 5).PValue > 0.9);
        Assert.True(Equivalence.MannWhitney(a, [.. a.Select(x => x - 7)], 5).PValue > 0.9);
    }

    [Fact]
    public void Holm_adjusts_as_in_the_worked_example()
    {
        // https://en.wikipedia.org/wiki/Holm-Bonferroni_method, example of four hypotheses
        double[] adjusted = Holm.Adjust([0.01, 0.04, 0.03, 0.005]);
        Assert.Equal([0.03, 0.06, 0.06, 0.02], adjusted.Select(p => Math.Round(p, 10)));
    }

    [Fact]
    public void McNemar_is_the_binomial_of_the_pairs_that_differ()
    {
        Assert.Equal(2 * 11 / 1024.0, McNemar.Exact(1, 9), 10);
        Assert.Equal(1, McNemar.Exact(4, 4));
        Assert.Equal(1, McNemar.Exact(0, 0));
    }

    [Fact]
    public void A_sample_ratio_mismatch_is_found_as_by_Kohavi()
    {
        // Kohavi, Tang, Xu 2020, chapter 3: 821,588 against 815,482 users: p = 1.8E-6
        Assert.Equal(1.8e-6, SampleRatio.Check([821_588, 815_482]), 1e-7);
        Assert.True(SampleRatio.Check([900, 100], [9, 1]) > 0.99);
    }

    [Fact]
    public void A_sample_size_is_what_R_prints()
    {
        // power.t.test(delta = 1, sd = 1, power = .90): n = 22.02110
        Assert.Equal(22.02, Power.SampleSize(1, 1, power: 0.9), 0.06);
        // and the rule of thumb of Kohavi: 16 sigma squared by delta squared, for a power of 0.8
        Assert.Equal(1600, Power.SampleSize(1, 0.1), 35.0);
        Assert.Equal(1, Power.DetectableEffect(1, 22, 22, power: 0.9), 0.02);
    }

    [Fact]
    public void Quantiles_are_those_of_R()
    {
        double[] numbers = [3, 1, 4, 1, 5, 9, 2, 6];
        Assert.Equal(3.5, Numbers.Median(numbers));
        Assert.Equal(5.25, Numbers.Quantile(numbers, 0.75)); // quantile(x, .75), type 7
        Assert.Equal(9, Numbers.Quantile(numbers, 1));
    }
}
