// What an interval says once a margin is given: better, worse, equivalent or inconclusive.
namespace KvCuda.Statistics;

/// <summary>The four outcomes of a comparison.</summary>
public enum Verdict
{
    /// <summary>The interval allows both a difference that matters and none: more data is needed.</summary>
    Inconclusive,

    /// <summary>The second is better by more than nothing, and not shown to be equivalent.</summary>
    Better,

    /// <summary>The second is worse.</summary>
    Worse,

    /// <summary>The difference is smaller than the margin either way.</summary>
    Equivalent,
}

/// <summary>Which way is good.</summary>
public enum Direction
{
    /// <summary>As with throughput.</summary>
    HigherIsBetter,

    /// <summary>As with latency.</summary>
    LowerIsBetter,
}

/// <summary>From intervals to verdicts.</summary>
public static class Verdicts
{
    /// <summary>
    /// Judges a difference (second minus first). Inside the margin on both sides: equivalent. Else, away from zero: better or worse.
    /// Else: inconclusive.
    /// </summary>
    /// <param name="difference">the interval</param>
    /// <param name="margin">the smallest difference that matters; 0 if every difference does</param>
    /// <param name="direction">which way is good</param>
    public static Verdict Judge(Interval difference, double margin, Direction direction)
    {
        if (!(margin >= 0))
        {
            throw new ArgumentException($"A margin is 0 or more; {margin} was given.", nameof(margin));
        }
        if (double.IsNaN(difference.Low) || double.IsNaN(difference.High))
        {
            return Verdict.Inconclusive;
        }
        if (difference.Inside(-margin, margin))
        {
            return Verdict.Equivalent;
        }
        if (difference.Low > 0)
        {
            return direction == Direction.HigherIsBetter ? Verdict.Better : Verdict.Worse;
        }
        if (difference.High < 0)
        {
            return direction == Direction.HigherIsBetter ? Verdict.Worse : Verdict.Better;
        }
        return Verdict.Inconclusive;
    }
}
