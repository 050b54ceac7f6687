// The report of an experiment as a page for people and as JSON for programs.
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using KvCuda.Statistics;

namespace KvCuda.Extensions;

static class ExperimentPage
{
    public static string Json(ExperimentReport report)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new() { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("schema", "kvcuda.experiment/1");
            json.WriteString("name", report.Options.Name);
            json.WriteBoolean("sequential", report.Options.Sequential);
            json.WriteNumber("planned_units_per_arm", report.Options.PlannedUnitsPerArm);
            json.WriteNumber("alpha", report.Options.Alpha);
            json.WriteStartArray("arms");
            foreach ((string arm, long units) in report.Arrived)
            {
                json.WriteStartObject();
                json.WriteString("name", arm);
                json.WriteNumber("units", units);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            Number(json, "sample_ratio_p", report.SampleRatioPValue);
            json.WriteBoolean("assignment_broken", report.AssignmentBroken);
            json.WriteNumber("values_not_kept", report.NotKept);
            json.WriteStartArray("comparisons");
            foreach (ExperimentComparison c in report.Comparisons)
            {
                json.WriteStartObject();
                json.WriteString("arm", c.Arm);
                json.WriteString("metric", c.Metric.Name);
                json.WriteString("kind", c.Metric.Kind.ToString().ToLowerInvariant());
                json.WriteString("better", c.Metric.Direction == Direction.HigherIsBetter ? "higher" : "lower");
                json.WriteBoolean("guardrail", c.Metric.Guardrail);
                json.WriteNumber("margin", c.Metric.Margin);
                Number(json, "control", c.Control);
                Number(json, "value", c.Value);
                json.WriteNumber("units_control", c.Units.Control);
                json.WriteNumber("units_arm", c.Units.Arm);
                Number(json, "difference_low", c.Difference.Low);
                Number(json, "difference_high", c.Difference.High);
                Number(json, "p_holm", c.PValue);
                Number(json, "detectable_effect", c.DetectableEffect);
                json.WriteString("verdict", c.Verdict.ToString().ToLowerInvariant());
                json.WriteString("why", c.Why);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    // JSON has no infinity: what is not known is null.
    static void Number(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumber(name, value);
        }
        else
        {
            json.WriteNull(name);
        }
    }

    public static string Html(ExperimentReport report)
    {
        var rows = new StringBuilder();
        foreach (ExperimentComparison c in report.Comparisons)
        {
            string verdict = c.Verdict.ToString().ToLowerInvariant();
            rows.Append(CultureInfo.InvariantCulture, $"<tr><td>{E(c.Arm)}<td>{E(c.Metric.Name)}{(c.Metric.Guardrail ? " <small>guardrail</small>" : "")}<td>{N(c.Control)}<td>{N(c.Value)}");
            rows.Append(CultureInfo.InvariantCulture, $"<td>{N(c.Difference.Low)} to {N(c.Difference.High)}<td>±{N(c.Metric.Margin)}<td>{N(c.PValue)}<td>{N(c.DetectableEffect)}");
            rows.Append(CultureInfo.InvariantCulture, $"<td>{c.Units.Control} / {c.Units.Arm}<td class=\"{verdict}\" title=\"{E(c.Why)}\">{verdict}\n");
        }
        string arms = string.Join(", ", report.Arrived.Select(arm => $"{E(arm.Arm)} {arm.Units}"));
        string state = report.AssignmentBroken ? "<p class=worse>The arms' sizes cannot be by chance: the assignment or the recording is broken. No verdict is given.</p>"
            : report.BrokenGuardrails.Any() ? $"<p class=worse>Guardrail broken: {E(string.Join(", ", report.BrokenGuardrails.Select(c => $"{c.Metric.Name} in {c.Arm}")))}.</p>" : "";
        return $$"""
            <!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{E(report.Options.Name)}}</title><style>
            :root { color-scheme: light dark; } body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
            div { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .85rem; } th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #8884; white-space: nowrap; }
            .better { color: #1f9d55; font-weight: 600; } .worse { color: #d64545; font-weight: 600; } .equivalent { color: #2f7ed8; font-weight: 600; } .inconclusive { opacity: .7; }
            </style></head><body><h1>{{E(report.Options.Name)}}</h1>
            <p>{{(report.Options.Sequential ? "Sequential: intervals are valid at any time." : $"Fixed horizon: verdicts at {report.Options.PlannedUnitsPerArm} units per arm.")}} Units: {{arms}}; chance of such sizes if the assignment is right: {{N(report.SampleRatioPValue)}}.</p>
            {{state}}
            <div><table><thead><tr><th>arm<th>metric<th>control<th>arm's value<th>difference<th>margin<th>p (Holm)<th>detectable<th>units<th>verdict</thead><tbody>
            {{rows}}</tbody></table></div></body></html>
            """;
    }

    static string E(string text) => WebUtility.HtmlEncode(text);

    static string N(double value) => double.IsNaN(value) ? "unknown" : double.IsInfinity(value) ? "∞" : value.ToString("G4", CultureInfo.InvariantCulture);
}
