// Two builds in one run, taking turns, with the first against itself as a check of the machine.
using System.Globalization;
using System.Text;
using KvCuda.Statistics;

namespace KvCuda.Study;

/// <summary>What a comparison says of a benchmark.</summary>
internal enum Change
{
    Same,
    Faster,
    Slower,

    /// <summary>Neither the same for certain nor different for certain. Never fails a build.</summary>
    Ambiguous,

    /// <summary>The build against itself was not the same: this machine says nothing now. Never fails a build.</summary>
    Unfit,
}

/// <summary>When two builds differ.</summary>
/// <param name="Relative">a difference of this share matters</param>
/// <param name="AbsoluteMicroseconds">and of this much</param>
/// <param name="Alpha">of every one-sided test, after Holm</param>
internal readonly record struct Thresholds(double Relative, double AbsoluteMicroseconds, double Alpha)
{
    public static Thresholds Default => new(0.05, 0.5, 0.05);
}

/// <summary>One benchmark of both builds.</summary>
/// <param name="Name">the benchmark</param>
/// <param name="Base">microseconds per operation and round</param>
/// <param name="Again">the same of the base's second process: the A/A check</param>
/// <param name="Head">of the other build</param>
internal sealed record CompareRow(string Name, double[] Base, double[] Again, double[] Head)
{
    public Change Verdict { get; set; }

    public Change SelfCheck { get; set; }

    /// <summary>Median over rounds of head by base, where base is the mean of its two processes of the round.</summary>
    public double Ratio => Numbers.Median([.. Head.Select((h, r) => h / Both(r))]);

    /// <summary>Bootstrap interval of the ratio.</summary>
    public Interval Interval => Bootstrap.Of([.. Head.Select((h, r) => h / Both(r))], Numbers.Median).Interval;

    /// <summary>The smallest slowdown that would be called one here with a power of 0.8.</summary>
    public double Detectable(Thresholds t)
    {
        double[] self = [.. Again.Zip(Base, (a, b) => Math.Log(a / b))];
        return t.Relative + Power.DetectableEffect(Math.Sqrt(Numbers.Variance(self)), self.Length, self.Length, t.Alpha);
    }

    double Both(int round) => (Base[round] + Again[round]) / 2;

    /// <summary>Rounds as shares of their own base: what drifts with the machine drops out.</summary>
    public (double[] Base, double[] Again, double[] Head) Scaled => (
        [.. Base.Select((x, r) => x / Both(r))], [.. Again.Select((x, r) => x / Both(r))], [.. Head.Select((x, r) => x / Both(r))]);
}

/// <summary>Rounds, verdicts and reports.</summary>
internal sealed class CompareRun
{
    public const int LeastRounds = 9; // fewer, and a rank test cannot tell anything

    public required IReadOnlyList<CompareRow> Rows { get; init; }

    public required IReadOnlyList<(string Name, double Base, double Head)> Counts { get; init; }

    public required Thresholds Limits { get; init; }

    public required MachineInfo Machine { get; init; }

    public required string Command { get; init; }

    /// <summary>Measures two builds on a model.</summary>
    /// <param name="baseBuild">the reference</param>
    /// <param name="headBuild">the change</param>
    /// <param name="model">a model folder</param>
    /// <param name="threads">of the CPU backend</param>
    /// <param name="rounds">turns of all three processes</param>
    /// <param name="kernels">null: kernels are not compiled; empty: all; else those whose name contains it</param>
    /// <param name="limits">when a difference matters</param>
    /// <param name="command">what reprints it</param>
    /// <param name="say">told what goes on</param>
    /// <param name="cancellation">ends it between two samples</param>
    public static CompareRun Measure(string baseBuild, string headBuild, string model, int threads, int rounds, string? kernels, Thresholds limits, string command,
        Action<string> say, CancellationToken cancellation)
    {
        using BenchProcess a = new(baseBuild, model, threads), again = new(baseBuild, model, threads), head = new(headBuild, model, threads);
        say("starting three processes: base, base again, head");
        string[] names = [.. a.Ask<string[]>("list").Intersect(again.Ask<string[]>("list")).Intersect(head.Ask<string[]>("list"))];
        var counted = a.Ask<SortedDictionary<string, double>>("static");
        var countedHead = head.Ask<SortedDictionary<string, double>>("static");
        if (kernels is not null)
        {
            say("compiling the kernels of both builds");
            foreach ((SortedDictionary<string, double> into, BenchProcess of) in new[] { (counted, a), (countedHead, head) })
            {
                foreach ((string name, double count) in of.Ask<SortedDictionary<string, double>>($"kernels {kernels}"))
                {
                    into[name] = count;
                }
            }
        }
        BenchProcess[] turn = [a, again, head];
        Dictionary<string, double[][]> samples = names.ToDictionary(name => name, _ => new[] { new double[rounds], new double[rounds], new double[rounds] });
        foreach (string name in names)
        {
            Array.ForEach(turn, child => child.Ask<double>(name)); // warm
        }
        for (int round = 0; round < rounds; round++)
        {
            say($"round {round + 1} of {rounds}");
            foreach (string name in names)
            {
                cancellation.ThrowIfCancellationRequested();
                for (int i = 0; i < 3; i++)
                {
                    int who = (i + round) % 3;
                    samples[name][who][round] = turn[who].Ask<double>(name);
                }
            }
        }
        CompareRow[] rows = [.. names.Select(name => new CompareRow(name, samples[name][0], samples[name][1], samples[name][2]))];
        Judge(rows, limits);
        return new()
        {
            Rows = rows, Limits = limits, Machine = MachineInfo.Here(threads, "cpu"), Command = command,
            Counts = [.. counted.Keys.Union(countedHead.Keys).Order(StringComparer.Ordinal)
                .Select(key => (key, counted.GetValueOrDefault(key, double.NaN), countedHead.GetValueOrDefault(key, double.NaN)))],
        };
    }

    /// <summary>
    /// Verdicts by Mann-Whitney with margins, Holm over the benchmarks: the same if shown to lie within both thresholds (TOST), slower or
    /// faster if shown to lie beyond them, else ambiguous. Where the base against itself is not the same: unfit.
    /// </summary>
    public static void Judge(IReadOnlyList<CompareRow> rows, Thresholds limits)
    {
        Change[] self = Verdicts(rows, row => (row.Scaled.Base, row.Scaled.Again), limits);
        // Both processes of the base are the reference of the head: twice the rounds.
        Change[] found = Verdicts(rows, row => ([.. row.Scaled.Base, .. row.Scaled.Again], row.Scaled.Head), limits);
        for (int i = 0; i < rows.Count; i++)
        {
            rows[i].SelfCheck = self[i];
            rows[i].Verdict = self[i] == Change.Same ? found[i] : Change.Unfit;
        }
    }

    static Change[] Verdicts(IReadOnlyList<CompareRow> rows, Func<CompareRow, (double[] Base, double[] Head)> of, Thresholds limits)
    {
        List<double> slower = [], faster = [], different = [];
        foreach (CompareRow row in rows)
        {
            (double[] x, double[] y) = of(row);
            // The larger of both thresholds: a share of the base, or microseconds.
            double margin = Math.Max(limits.Relative, limits.AbsoluteMicroseconds / Numbers.Median([.. row.Base, .. row.Again]));
            slower.Add(MannWhitney.Compare([.. x.Select(v => v * (1 + margin))], y).PLess);
            faster.Add(MannWhitney.Compare([.. x.Select(v => v / (1 + margin))], y).PGreater);
            different.Add(Equivalence.MannWhitney(x, y, margin).PValue);
        }
        double[] s = Holm.Adjust(slower), f = Holm.Adjust(faster);
        return [.. rows.Select((_, i) => s[i] < limits.Alpha ? Change.Slower : f[i] < limits.Alpha ? Change.Faster
            : different[i] < limits.Alpha ? Change.Same : Change.Ambiguous)];
    }

    /// <summary>Counts that grew: these fail a build on any machine.</summary>
    public IEnumerable<(string Name, double Base, double Head)> Worse => Counts.Where(count => count.Head > count.Base);

    /// <summary>More benchmarks unfit than fit: what was timed says nothing.</summary>
    public bool MachineIsUnfit => Rows.Count(row => row.Verdict == Change.Unfit) * 2 > Rows.Count;

    /// <summary>Whether a build fails: something is slower for certain, or a count grew.</summary>
    public bool Fails => Rows.Any(row => row.Verdict == Change.Slower) || Worse.Any();

    public string Markdown()
    {
        StringBuilder text = new();
        text.Append("# Comparison of two builds\n\n    ").Append(Command).Append("\n\n");
        text.Append(CultureInfo.InvariantCulture, $"{Machine.Processor} ({Machine.Stepping}), {Machine.Threads} of {Machine.Cores} threads. {(Rows.Count == 0 ? 0 : Rows[0].Base.Length)} rounds, ");
        text.Append(CultureInfo.InvariantCulture, $"base, base again and head in turn. A difference counts from {Limits.Relative:P0} and {Limits.AbsoluteMicroseconds} µs; ambiguous and unfit never fail a build.\n\n");
        text.Append(MachineIsUnfit ? "**This machine is unfit now**: the base differs from itself. Only the counts below say anything.\n\n"
            : Fails ? "**Slower or larger**: see below.\n\n" : "**Nothing is slower for certain, and no count grew.**\n\n");
        text.Append("| benchmark | base, µs | head, µs | head / base | 95 % | verdict | base against itself | smallest slowdown seen here |\n|---|--:|--:|--:|--:|---|---|--:|\n");
        foreach (CompareRow row in Rows)
        {
            Interval i = row.Interval;
            text.Append(CultureInfo.InvariantCulture, $"| {row.Name} | {Cell.Number(Numbers.Median([.. row.Base, .. row.Again]))} | {Cell.Number(Numbers.Median(row.Head))} | {row.Ratio:F3} | {i.Low:F3} - {i.High:F3} ");
            text.Append(CultureInfo.InvariantCulture, $"| {row.Verdict.ToString().ToLowerInvariant()} | {row.SelfCheck.ToString().ToLowerInvariant()} | {row.Detectable(Limits):P0} |\n");
        }
        var changed = Counts.Where(count => !count.Base.Equals(count.Head)).ToList();
        text.Append(CultureInfo.InvariantCulture, $"\n{Counts.Count} counts (verbs, bytes, allocations, registers, spills, shared memory, SASS): {changed.Count} changed, {Worse.Count()} grew.\n");
        if (changed.Count > 0)
        {
            text.Append("\n| count | base | head | |\n|---|--:|--:|---|\n");
            foreach ((string name, double before, double after) in changed)
            {
                text.Append(CultureInfo.InvariantCulture, $"| {name} | {Cell.Number(before)} | {Cell.Number(after)} | {(double.IsNaN(before) ? "new" : double.IsNaN(after) ? "gone" : after > before ? "**grew**" : "fell")} |\n");
            }
        }
        return text.ToString();
    }

    /// <summary>All samples and counts, as a result file.</summary>
    public ResultSet Results() => ResultSet.Of(Machine, Command,
    [
        .. Rows.SelectMany(row => new[]
        {
            Cell.Of("base", "", "", row.Name, "", "us", "lower", row.Base), Cell.Of("base again", "", "", row.Name, "", "us", "lower", row.Again),
            Cell.Of("head", "", "", row.Name, "", "us", "lower", row.Head) with { Note = row.Verdict.ToString().ToLowerInvariant() },
        }),
        .. Counts.SelectMany(count => new[]
        {
            new Cell("base", "", "", count.Name, "", "count", count.Base) { Exact = true, Better = "lower" },
            new Cell("head", "", "", count.Name, "", "count", count.Head) { Exact = true, Better = "lower" },
        }),
    ]);
}
