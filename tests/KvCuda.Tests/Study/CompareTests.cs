// Judging two builds: planted slowdowns are found, a build against itself is never slower, a restless machine is unfit.
using KvCuda.Study;

namespace KvCuda.Tests.Study;

public class CompareTests
{
    // A machine whose speed drifts by a third within a run, all alike; and noise of each sample.
    static CompareRow Row(int seed, double headFactor, double noise, double againFactor = 1, int rounds = 15)
    {
        var random = new Random(seed);
        double[] a = new double[rounds], again = new double[rounds], head = new double[rounds];
        for (int r = 0; r < rounds; r++)
        {
            double drift = 100 * (1 + (0.3 * Math.Sin(r + seed)));
            double One(double factor) => drift * factor * (1 + (noise * ((2 * random.NextDouble()) - 1)));
            (a[r], again[r], head[r]) = (One(1), One(againFactor), One(headFactor));
        }
        return new($"bench{seed}", a, again, head);
    }

    [Fact]
    public void Ten_percent_more_time_is_found_where_the_machine_is_fit()
    {
        CompareRow[] rows = [.. Enumerable.Range(0, 8).Select(i => Row(i, i == 3 ? 1.10 : 1, noise: 0.02))];
        CompareRun.Judge(rows, Thresholds.Default);
        Assert.Equal(Change.Slower, rows[3].Verdict);
        Assert.All(rows.Where((_, i) => i != 3), row => Assert.Equal(Change.Same, row.Verdict));
        Assert.InRange(rows[3].Detectable(Thresholds.Default), 0.05, 0.09);
    }

    [Fact]
    public void A_quarter_more_time_is_found_or_the_machine_is_unfit()
    {
        foreach (double noise in new[] { 0.02, 0.08, 0.2, 0.5 })
        {
            CompareRow[] rows = [.. Enumerable.Range(0, 8).Select(i => Row(i, i == 3 ? 1.25 : 1, noise))];
            CompareRun.Judge(rows, Thresholds.Default);
            Assert.True(rows[3].Verdict is Change.Slower or Change.Unfit, $"{noise}: {rows[3].Verdict}");
        }
    }

    [Fact]
    public void Two_hundred_runs_of_a_build_against_itself_are_never_slower()
    {
        for (int run = 0; run < 200; run++)
        {
            CompareRow[] rows = [.. Enumerable.Range(0, 8).Select(i => Row((run * 31) + i, 1, noise: 0.02 + (run % 10 * 0.03)))];
            CompareRun.Judge(rows, Thresholds.Default);
            Assert.DoesNotContain(rows, row => row.Verdict is Change.Slower or Change.Faster);
        }
    }

    [Fact]
    public void A_base_that_differs_from_itself_makes_the_machine_unfit_and_fails_nothing()
    {
        CompareRow[] rows = [.. Enumerable.Range(0, 4).Select(i => Row(i, 1.4, noise: 0.02, againFactor: 1.3))];
        CompareRun.Judge(rows, Thresholds.Default);
        CompareRun run = Run(rows, []);
        Assert.All(rows, row => Assert.Equal(Change.Unfit, row.Verdict));
        Assert.True(run.MachineIsUnfit);
        Assert.False(run.Fails);
        Assert.Contains("unfit", run.Markdown(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_count_that_grows_fails_on_any_machine_and_one_that_falls_does_not()
    {
        CompareRow[] rows = [Row(1, 1, 0.5)];
        CompareRun.Judge(rows, Thresholds.Default);
        Assert.True(Run(rows, [("spilled bytes/add", 0, 16)]).Fails);
        Assert.True(Run(rows, [("launches per decode step/add", 12, 13)]).Fails);
        Assert.False(Run(rows, [("verbs per decode step/Add", 12, 11), ("registers/new", double.NaN, 40)]).Fails);
        Assert.Contains("**grew**", Run(rows, [("spilled bytes/add", 0, 16)]).Markdown(), StringComparison.Ordinal);
    }

    [Fact]
    public void Small_absolute_differences_do_not_count()
    {
        CompareRow[] rows = [Row(1, 1.3, 0.01) with { }];
        CompareRow tiny = new("tiny", [.. rows[0].Base.Select(x => x / 1000)], [.. rows[0].Again.Select(x => x / 1000)], [.. rows[0].Head.Select(x => x / 1000)]);
        CompareRun.Judge([tiny], Thresholds.Default);
        Assert.Equal(Change.Same, tiny.Verdict); // 30 ns, where half a microsecond matters
    }

    [Fact]
    public void Instructions_that_touch_global_memory_are_counted_in_a_listing()
    {
        const string listing = """
                    /*0000*/                   LDC R1, c[0x0][0x28] ;
                    /*0010*/              @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;
                    /*0020*/                   STG.E desc[UR4][R2.64], R5 ;
                    /*0030*/                   EXIT ;
            """;
        Assert.Equal([("instructions", 4), ("global loads", 1), ("global stores", 1)], KernelCounts.CountSass(listing));
    }

    [Fact]
    public void The_benchmarks_of_a_model_run_and_their_verbs_are_counted()
    {
        using var set = new BenchmarkSet(Path.Combine(Repository.Root, "weights", "demo"), threads: 1);
        Assert.Contains("decode-step/1", set.All.Select(benchmark => benchmark.Name));
        foreach (Benchmark benchmark in set.All)
        {
            benchmark.Run();
        }
        Assert.Contains(set.VerbsPerStep(), pair => pair.Count > 0);
        // What the engine promises: bookkeeping and drawing allocate nothing.
        foreach (string quiet in new[] { "store-step/64", "sample-greedy/32000", "sample-drawn/32000" })
        {
            Benchmark benchmark = set.All.Single(b => b.Name == quiet);
            for (int i = 0; i < 600; i++)
            {
                benchmark.Run(); // tables double now and then, until the sequences are at their longest
            }
            Assert.True(benchmark.Allocated() < 16, $"{quiet}: {benchmark.Allocated()} bytes");
        }
    }

    static CompareRun Run(CompareRow[] rows, (string, double, double)[] counts) => new()
    {
        Rows = rows, Counts = counts, Limits = Thresholds.Default, Machine = MachineInfo.Here(1, "cpu"), Command = "kvcuda compare A B",
    };
}
