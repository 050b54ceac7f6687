// Experiments: assignment that never changes, four verdicts, and guards against broken assignments and repeated looks.
using System.Text.Json;
using KvCuda.Extensions;
using KvCuda.Statistics;

namespace KvCuda.Tests.Extensions;

public class ExperimentTests
{
    static readonly ExperimentMetric latency = new("latency_ms", Direction.LowerIsBetter, 5);

    static ExperimentOptions Options(long planned = 200, bool sequential = false, params ExperimentMetric[] metrics) => new()
    {
        Name = "half the KV layers", Metrics = metrics.Length > 0 ? metrics : [latency], PlannedUnitsPerArm = planned, Sequential = sequential,
    };

    // Units arrive until both arms have the planned number; treatment is slower or faster by `effect`.
    static Experiment Filled(ExperimentOptions options, double effect, double noise = 20, int units = 2000)
    {
        var experiment = new Experiment(options);
        var random = new Random(1);
        for (int i = 0; i < units; i++)
        {
            string unit = $"session-{i}", arm = experiment.Assign(unit);
            experiment.Record(unit, "latency_ms", 100 + (noise * (random.NextDouble() - 0.5)) + (arm == "treatment" ? effect : 0));
        }
        return experiment;
    }

    [Fact]
    public void A_unit_keeps_its_arm_for_ever_and_arms_get_their_shares()
    {
        var options = Options() with { Arms = [("control", 3), ("treatment", 1)] };
        Experiment one = new(options), two = new(options), other = new(options with { Name = "another" });
        string[] units = [.. Enumerable.Range(0, 8000).Select(i => $"user{i}")];
        Assert.All(units, unit => Assert.Equal(one.ArmOf(unit), two.ArmOf(unit)));
        Assert.InRange(units.Count(unit => one.ArmOf(unit) == "treatment"), 1850, 2150);
        Assert.Contains(units, unit => one.ArmOf(unit) != other.ArmOf(unit));
        // Fixed for good: a change of the hash would move every running experiment.
        Assert.Equal("treatment", one.ArmOf("user1"));
    }

    [Theory]
    [InlineData(0, Verdict.Equivalent)]
    [InlineData(20, Verdict.Worse)]
    [InlineData(-20, Verdict.Better)]
    public void The_verdict_is_one_of_four(double effect, Verdict expected)
    {
        ExperimentReport report = Filled(Options(), effect).Report();
        Assert.Equal(expected, report.Comparisons[0].Verdict);
        Assert.True(report.Comparisons[0].Difference.Contains(effect));
        Assert.False(report.AssignmentBroken);
    }

    [Fact]
    public void Too_few_units_are_inconclusive_and_the_detectable_effect_is_known_before()
    {
        ExperimentReport before = new Experiment(Options(64, false, latency with { ExpectedDeviation = 10 })).Report();
        Assert.Equal(Verdict.Inconclusive, before.Comparisons[0].Verdict);
        Assert.Equal(5, before.Comparisons[0].DetectableEffect, 0.1); // 2.8 sigma sqrt(2 / n)
        ExperimentReport noisy = Filled(Options(), 2, noise: 400).Report();
        Assert.Equal(Verdict.Inconclusive, noisy.Comparisons[0].Verdict);
    }

    [Fact]
    public void A_fixed_horizon_gives_no_verdict_before_its_end_however_clear_it_looks()
    {
        ExperimentComparison early = Filled(Options(planned: 5000), 50).Report().Comparisons[0];
        Assert.Equal(Verdict.Inconclusive, early.Verdict);
        Assert.StartsWith("Fixed horizon", early.Why, StringComparison.Ordinal);
        ExperimentComparison sequential = Filled(Options(planned: 5000, sequential: true), 50).Report().Comparisons[0];
        Assert.Equal(Verdict.Worse, sequential.Verdict);
    }

    [Fact]
    public void A_broken_assignment_ends_all_verdicts()
    {
        var experiment = new Experiment(Options(planned: 10));
        for (int i = 0; i < 3000; i++)
        {
            string unit = $"u{i}";
            if (experiment.ArmOf(unit) == "control" || i % 2 == 0) // half of the treatment is lost on its way
            {
                experiment.Assign(unit);
                experiment.Record(unit, "latency_ms", experiment.ArmOf(unit) == "control" ? 100 + (i % 7) : 200 + (i % 7));
            }
        }
        ExperimentReport report = experiment.Report();
        Assert.True(report.AssignmentBroken);
        Assert.Equal(Verdict.Inconclusive, report.Comparisons[0].Verdict);
        Assert.Contains("No verdict is given", report.ToHtml(), StringComparison.Ordinal);
    }

    [Fact]
    public void Ratios_percentiles_and_guardrails_are_judged_together()
    {
        ExperimentMetric cached = new("cached_tokens", Direction.HigherIsBetter, 0.02) { Kind = MetricKind.Ratio };
        ExperimentMetric tail = new("latency_ms", Direction.LowerIsBetter, 20) { Kind = MetricKind.Percentile, Percentile = 0.95, Guardrail = true };
        var experiment = new Experiment(Options(150, false, cached, tail));
        var random = new Random(3);
        for (int i = 0; i < 600; i++)
        {
            string unit = $"s{i}";
            bool treated = experiment.Assign(unit) == "treatment";
            double tokens = 100 + random.Next(900);
            experiment.Record(unit, "cached_tokens", tokens * (treated ? 0.6 : 0.4), tokens);
            experiment.Record(unit, "latency_ms", 100 + (100 * random.NextDouble()) + (treated && random.Next(5) == 0 ? 300 : 0));
        }
        ExperimentReport report = experiment.Report();
        ExperimentComparison ratio = report.Comparisons.Single(c => c.Metric == cached), p95 = report.Comparisons.Single(c => c.Metric == tail);
        Assert.Equal(Verdict.Better, ratio.Verdict);
        Assert.Equal(0.4, ratio.Control, 6);
        Assert.Equal(0.6, ratio.Value, 6);
        Assert.Equal(Verdict.Worse, p95.Verdict);
        Assert.Equal([p95], report.BrokenGuardrails);
        using JsonDocument json = JsonDocument.Parse(report.ToJson());
        Assert.Equal("kvcuda.experiment/1", json.RootElement.GetProperty("schema").GetString());
        Assert.Equal("better", json.RootElement.GetProperty("comparisons")[0].GetProperty("verdict").GetString());
        Assert.Contains("Guardrail broken", report.ToHtml(), StringComparison.Ordinal);
    }

    [Fact]
    public void Names_in_the_page_are_text_and_not_markup()
    {
        var experiment = new Experiment(Options(10, false, new ExperimentMetric("<script>", Direction.HigherIsBetter, 1)));
        Assert.DoesNotContain("<script>", experiment.Report().ToHtml(), StringComparison.Ordinal);
    }

    [Fact]
    public void What_contradicts_itself_is_refused_in_a_sentence()
    {
        Assert.Contains("a margin above 0", Assert.Throws<InvalidRequestException>(() => new Experiment(Options(10, false, latency with { Margin = 0 }))).Message,
            StringComparison.Ordinal);
        Assert.Contains("percentile", Assert.Throws<InvalidRequestException>(() =>
            new Experiment(Options(10, true, latency with { Kind = MetricKind.Percentile }))).Message, StringComparison.Ordinal);
        var experiment = new Experiment(Options());
        Assert.Contains("it has latency_ms", Assert.Throws<InvalidRequestException>(() => experiment.Record("u", "speed", 1)).Message, StringComparison.Ordinal);
        Assert.Contains("only finite numbers", Assert.Throws<InvalidRequestException>(() => experiment.Record("u", "latency_ms", double.NaN)).Message, StringComparison.Ordinal);
        Assert.Contains("no ratio", Assert.Throws<InvalidRequestException>(() => experiment.Record("u", "latency_ms", 1, 2)).Message, StringComparison.Ordinal);
    }
}
