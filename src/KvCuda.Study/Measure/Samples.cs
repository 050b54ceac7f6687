namespace KvCuda.Study;

/// <summary>What was measured: per question and contender one number per round, larger is better unless it is seconds or bytes.</summary>
internal sealed class Samples
{
    readonly Dictionary<(string What, string Who), List<double>> all = [];

    /// <summary>Told every number as it comes.</summary>
    public Action<string, string, double>? Added { get; set; }

    public void Add(string what, string who, double value)
    {
        Added?.Invoke(what, who, value);
        if (!all.TryGetValue((what, who), out List<double>? list))
        {
            all[(what, who)] = list = [];
        }
        list.Add(value);
    }

    public IReadOnlyList<double> Of(string what, string who) => all.GetValueOrDefault((what, who)) ?? [];

    public double Median(string what, string who) => MedianOf(Of(what, who));

    public IEnumerable<(string What, string Who, IReadOnlyList<double> Values)> All =>
        all.Select(entry => (entry.Key.What, entry.Key.Who, (IReadOnlyList<double>)entry.Value));

    /// <summary>Median, smallest and largest of the rounds' own ratios: both sides of one round met the same machine.</summary>
    public (double Median, double Least, double Most)? Ratio(string what, string ours, string theirs, bool inverse = false)
    {
        IReadOnlyList<double> a = Of(what, ours), b = Of(what, theirs);
        double[] ratios = [.. a.Zip(b, (x, y) => inverse ? y / x : x / y)];
        return ratios.Length == 0 ? null : (MedianOf(ratios), ratios.Min(), ratios.Max());
    }

    public static double MedianOf(IReadOnlyList<double> values)
    {
        if (values.Count == 0)
        {
            return double.NaN;
        }
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
