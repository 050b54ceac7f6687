// What statistics promise in use: few false alarms, repeated looks, four verdicts, clear errors.
using KvCuda.Statistics;

namespace KvCuda.Tests.Statistics;

public class BehaviourTests
{
    [Fact]
    public void Looking_after_every_batch_does_not_raise_the_false_alarms()
    {
        int fixedAlarms = 0, sequentialAlarms = 0;
        const int experiments = 300;
        for (int e = 0; e < experiments; e++)
        {
            var random = new Random(e);
            List<double> a = [], b = [];
            bool fixedAlarm = false, sequentialAlarm = false;
            for (int look = 0; look < 40; look++)
            {
                for (int i = 0; i < 25; i++)
                {
                    a.Add(Noise(random));
                    b.Add(Noise(random));
                }
                Moments x = Moments.Of(a), y = Moments.Of(b);
                fixedAlarm |= Welch.Compare(x, y).PValue < 0.05;
                sequentialAlarm |= !Sequential.Difference(x, y, planned: 1000).Contains(0);
            }
            fixedAlarms += fixedAlarm ? 1 : 0;
            sequentialAlarms += sequentialAlarm ? 1 : 0;
        }
        // The reason for all this: peeking at a fixed test raises 5 % to more than 20 %.
        Assert.True(fixedAlarms > experiments * 0.2, $"{fixedAlarms} of {experiments}");
        Assert.True(sequentialAlarms <= experiments * 0.05, $"{sequentialAlarms} of {experiments}");
    }

    [Fact]
    public void A_sequential_interval_still_finds_a_true_effect()
    {
        var random = new Random(1);
        double[] a = [.. Enumerable.Range(0, 1000).Select(_ => Noise(random))], b = [.. a.Select(_ => Noise(random) + 0.3)];
        Interval interval = Sequential.Difference(a, b, planned: 2000);
        Assert.True(interval.Low > 0 && interval.Contains(0.3));
        Interval early = Sequential.Difference(a[..29], b[..29], planned: 2000);
        Assert.Equal(double.PositiveInfinity, early.High);
    }

    [Theory]
    [InlineData(1, 3, 0.5, Direction.HigherIsBetter, Verdict.Better)]
    [InlineData(1, 3, 0.5, Direction.LowerIsBetter, Verdict.Worse)]
    [InlineData(-3, -1, 0.5, Direction.LowerIsBetter, Verdict.Better)]
    [InlineData(-3, -1, 0.5, Direction.HigherIsBetter, Verdict.Worse)]
    [InlineData(-0.2, 0.3, 0.5, Direction.HigherIsBetter, Verdict.Equivalent)]
    [InlineData(0.1, 0.3, 0.5, Direction.HigherIsBetter, Verdict.Equivalent)]
    [InlineData(-1, 0.3, 0.5, Direction.HigherIsBetter, Verdict.Inconclusive)]
    [InlineData(double.NegativeInfinity, double.PositiveInfinity, 0.5, Direction.HigherIsBetter, Verdict.Inconclusive)]
    [InlineData(0.1, 0.3, 0, Direction.HigherIsBetter, Verdict.Better)]
    public void An_interval_and_a_margin_give_one_of_four_verdicts(double low, double high, double margin, Direction way, Verdict verdict) =>
        Assert.Equal(verdict, Verdicts.Judge(new(low, high), margin, way));

    [Fact]
    public void Constants_are_judged_without_dividing_by_zero()
    {
        Assert.Equal(1, Welch.Compare([2.0, 2], [2.0, 2]).PValue);
        Assert.Equal(0, Welch.Compare([2.0, 2], [3.0, 3]).PValue);
        Assert.Equal(0, Equivalence.Welch([2.0, 2], [2.1, 2.1], 0.5).PValue);
        Assert.Equal(1, MannWhitney.Compare([2.0, 2, 2], [2.0, 2, 2]).PValue, 10);
    }

    [Fact]
    public void A_sample_that_cannot_be_judged_says_what_is_wrong()
    {
        Assert.Contains("Number 1 of the sample is NaN", Assert.Throws<ArgumentException>(() => Numbers.Mean([1, double.NaN])).Message,
            StringComparison.Ordinal);
        Assert.Contains("At least 2 numbers are needed; there are 1", Assert.Throws<ArgumentException>(() => Welch.Compare([1.0], [1.0, 2])).Message,
            StringComparison.Ordinal);
        Assert.Contains("margin above 0", Assert.Throws<ArgumentException>(() => Equivalence.Welch([1.0, 2], [1.0, 2], 0)).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Paired.Compare([1.0, 2], [1.0, 2, 3]));
        Assert.Throws<ArgumentException>(() => SampleRatio.Check([5]));
        Assert.Throws<ArgumentException>(() => Holm.Adjust([0.5, 1.5]));
    }

    static double Noise(Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
