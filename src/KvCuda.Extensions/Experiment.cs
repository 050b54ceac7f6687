// An experiment in production: deterministic assignment, the user's own metrics, and verdicts that may be trusted.
using System.Security.Cryptography;
using System.Text;
using KvCuda.Statistics;

namespace KvCuda.Extensions;

/// <summary>
/// Compares engines or settings on live requests. A unit (a session, a user, a request) belongs to one arm for ever; its values are
/// recorded under the metrics of <see cref="ExperimentOptions"/>; <see cref="Report"/> says per metric better, worse, equivalent or
/// inconclusive. Safe for concurrent use.
/// </summary>
public sealed class Experiment
{
    readonly ExperimentOptions options;
    readonly Lock gate = new();
    readonly Dictionary<string, UnitValues>[] units; // per arm: unit -> values per metric
    readonly HashSet<string>[] seen;                 // per arm: units that arrived, up to the most that are kept
    readonly long[] counted;
    long dropped;

    // Per metric: sum and count, or numerator and denominator.
    sealed class UnitValues(int metrics)
    {
        public double[] Above { get; } = new double[metrics];

        public double[] Below { get; } = new double[metrics];
    }

    /// <exception cref="InvalidRequestException">The options contradict themselves.</exception>
    public Experiment(ExperimentOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        this.options = options;
        units = [.. options.Arms.Select(_ => new Dictionary<string, UnitValues>(StringComparer.Ordinal))];
        seen = [.. options.Arms.Select(_ => new HashSet<string>(StringComparer.Ordinal))];
        counted = new long[options.Arms.Count];
    }

    /// <summary>What was fixed before it began.</summary>
    public ExperimentOptions Options => options;

    /// <summary>The arm of a unit: the same on every machine and after every restart. Counts nothing.</summary>
    public string ArmOf(string unit) => options.Arms[IndexOf(unit)].Name;

    /// <summary>The arm of a unit that arrives: it is counted for the check of the assignment.</summary>
    public string Assign(string unit)
    {
        int arm = IndexOf(unit);
        lock (gate)
        {
            Count(arm, unit);
        }
        return options.Arms[arm].Name;
    }

    /// <summary>Records a value of a unit, of a metric that is a mean or a percentile.</summary>
    /// <exception cref="InvalidRequestException">There is no such metric, it is a ratio, or the value is not finite.</exception>
    public void Record(string unit, string metric, double value) => Add(unit, Find(metric, ratio: false), value, 1);

    /// <summary>Records a numerator and a denominator of a unit, of a metric that is a ratio.</summary>
    /// <exception cref="InvalidRequestException">There is no such metric, it is no ratio, or a value is not finite.</exception>
    public void Record(string unit, string metric, double numerator, double denominator) =>
        Add(unit, Find(metric, ratio: true), numerator, denominator);

    internal bool Has(string metric, MetricKind kind) => options.Metrics.Any(m => m.Name == metric && (m.Kind == MetricKind.Ratio) == (kind == MetricKind.Ratio));

    int Find(string name, bool ratio)
    {
        for (int i = 0; i < options.Metrics.Count; i++)
        {
            if (options.Metrics[i].Name == name)
            {
                return (options.Metrics[i].Kind == MetricKind.Ratio) == ratio ? i : throw new InvalidRequestException(
                    $"The metric {name} is {(ratio ? "no ratio: record one value" : "a ratio: record a numerator and a denominator")}.");
            }
        }
        throw new InvalidRequestException($"The experiment {options.Name} has no metric {name}; it has {string.Join(", ", options.Metrics.Select(m => m.Name))}.");
    }

    void Add(string unit, int metric, double above, double below)
    {
        if (!double.IsFinite(above) || !double.IsFinite(below))
        {
            throw new InvalidRequestException($"The metric {options.Metrics[metric].Name} was given {above}{(below == 1 ? "" : $" by {below}")}; only finite numbers can be judged.");
        }
        int arm = IndexOf(unit);
        lock (gate)
        {
            Count(arm, unit);
            if (!units[arm].TryGetValue(unit, out UnitValues? values))
            {
                if (units[arm].Count >= options.MostUnits)
                {
                    dropped++;
                    return;
                }
                units[arm][unit] = values = new(options.Metrics.Count);
            }
            values.Above[metric] += above;
            values.Below[metric] += below;
        }
    }

    void Count(int arm, string unit)
    {
        // Names of so many units are remembered; of later ones an arrival counts each time, in every arm alike.
        if (seen[arm].Count >= options.MostUnits || seen[arm].Add(unit))
        {
            counted[arm]++;
        }
    }

    int IndexOf(string unit)
    {
        ArgumentException.ThrowIfNullOrEmpty(unit);
        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{options.Name}\n{unit}"));
        // 53 bits: as even as a double can be.
        double at = (BitConverter.ToUInt64(hash) >> 11) / (double)(1UL << 53) * options.Arms.Sum(arm => arm.Weight);
        for (int i = 0; i < options.Arms.Count - 1; i++)
        {
            if (at < options.Arms[i].Weight)
            {
                return i;
            }
            at -= options.Arms[i].Weight;
        }
        return options.Arms.Count - 1;
    }

    /// <summary>What is known now.</summary>
    public ExperimentReport Report()
    {
        (double Above, double Below)[][][] values; // arm, metric, unit
        long[] arrived;
        long late;
        lock (gate)
        {
            // A unit that has no value of a metric does not count for it.
            values = [.. units.Select(arm => Enumerable.Range(0, options.Metrics.Count).Select(m => arm.OrderBy(pair => pair.Key, StringComparer.Ordinal)
                .Where(pair => pair.Value.Below[m] != 0 || options.Metrics[m].Kind == MetricKind.Ratio && pair.Value.Above[m] != 0)
                .Select(pair => (pair.Value.Above[m], pair.Value.Below[m])).ToArray()).ToArray())];
            arrived = [.. counted];
            late = dropped;
        }
        return ExperimentJudge.Judge(options, values, arrived, late);
    }
}
