using System.Globalization;
using System.Text;
using System.Text.Json;

namespace KvCuda.GpuBench;

/// <summary>One end-to-end figure.</summary>
/// <param name="Model">its size: 1.1B</param>
/// <param name="What">decode or prefill, and with what</param>
/// <param name="TokensPerSecond">of all sequences together</param>
/// <param name="Bytes">bytes that one step must read at least: weights and visible keys and values; 0 for prefill</param>
/// <param name="Flops">arithmetic of one token of prefill; 0 for decode</param>
/// <param name="StepSeconds">seconds of one decode step, or of the whole prefill</param>
internal sealed record EndToEndResult(string Model, string What, double TokensPerSecond, double Bytes, double Flops, double StepSeconds);

/// <summary>Results as JSON for comparisons and as Markdown for people; shares are of what was measured in the same run.</summary>
internal sealed record Report(
    string Device, string Driver, string Compiler, string Date, Yardsticks Yardsticks,
    IReadOnlyList<(string Model, VerbResult Result)> Verbs, IReadOnlyList<EndToEndResult> EndToEnd)
{
    public string Markdown()
    {
        var text = new StringBuilder();
        text.AppendLine($"# {Device}");
        text.AppendLine();
        text.AppendLine($"{Driver}, {Compiler}, {Date}. Device times by events, medians of 7, weights and pages cold (rotated through more");
        text.AppendLine("than the L2 cache holds). Shares are of this run's own yardsticks.");
        text.AppendLine();
        text.AppendLine("| yardstick | measured |");
        text.AppendLine("|---|--:|");
        text.AppendLine($"| copy (bytes read + written) | {Number(Yardsticks.CopyBytesPerSecond / 1e9)} GB/s |");
        text.AppendLine($"| read | {Number(Yardsticks.ReadBytesPerSecond / 1e9)} GB/s |");
        text.AppendLine(Yardsticks.CublasFlopsPerSecond > 0
            ? $"| cuBLAS, bf16, 8192 cubed | {Number(Yardsticks.CublasFlopsPerSecond / 1e12)} TFLOP/s |"
            : "| cuBLAS | not on this machine |");
        foreach (IGrouping<string, (string Model, VerbResult Result)> model in Verbs.GroupBy(v => v.Model))
        {
            text.AppendLine();
            text.AppendLine($"## Verbs at the sizes of {model.Key}");
            text.AppendLine();
            text.AppendLine("| verb | shape | us | GB/s or TFLOP/s | of copy | of read | of cuBLAS |");
            text.AppendLine("|---|---|--:|--:|--:|--:|--:|");
            foreach ((_, VerbResult r) in model)
            {
                text.AppendLine($"| {r.Verb} | {r.Shape} | {Number(r.Microseconds)} | {Rates(r.Bytes, r.Flops, r.Microseconds * 1e-6)} |");
            }
        }
        if (EndToEnd.Count > 0)
        {
            text.AppendLine();
            text.AppendLine("## End to end, random weights");
            text.AppendLine();
            text.AppendLine("| model | what | tokens/s | GB/s or TFLOP/s | of copy | of read | of cuBLAS |");
            text.AppendLine("|---|---|--:|--:|--:|--:|--:|");
            foreach (EndToEndResult r in EndToEnd)
            {
                text.AppendLine($"| {r.Model} | {r.What} | {Number(r.TokensPerSecond)} | {Rates(r.Bytes, r.Flops, r.StepSeconds)} |");
            }
        }
        return text.ToString();
    }

    public string Json()
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new() { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("device", Device);
            json.WriteString("driver", Driver);
            json.WriteString("compiler", Compiler);
            json.WriteString("date", Date);
            json.WriteNumber("copy_bytes_per_s", Yardsticks.CopyBytesPerSecond);
            json.WriteNumber("read_bytes_per_s", Yardsticks.ReadBytesPerSecond);
            json.WriteNumber("cublas_flops_per_s", Yardsticks.CublasFlopsPerSecond);
            json.WriteStartArray("verbs");
            foreach ((string model, VerbResult r) in Verbs)
            {
                json.WriteStartObject();
                json.WriteString("model", model);
                json.WriteString("verb", r.Verb);
                json.WriteString("shape", r.Shape);
                json.WriteNumber("us", r.Microseconds);
                json.WriteNumber("bytes", r.Bytes);
                json.WriteNumber("flops", r.Flops);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteStartArray("end_to_end");
            foreach (EndToEndResult r in EndToEnd)
            {
                json.WriteStartObject();
                json.WriteString("model", r.Model);
                json.WriteString("what", r.What);
                json.WriteNumber("tokens_per_s", r.TokensPerSecond);
                json.WriteNumber("step_bytes", r.Bytes);
                json.WriteNumber("step_s", r.StepSeconds);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    string Rates(double bytes, double flops, double seconds)
    {
        if (bytes > 0)
        {
            double rate = bytes / seconds;
            return $"{Number(rate / 1e9)} GB/s | {Share(rate, Yardsticks.CopyBytesPerSecond)} | {Share(rate, Yardsticks.ReadBytesPerSecond)} | ";
        }
        double arithmetic = flops / seconds;
        return $"{Number(arithmetic / 1e12)} TFLOP/s | | | {Share(arithmetic, Yardsticks.CublasFlopsPerSecond)}";
    }

    static string Share(double value, double of) => of > 0 ? (value / of).ToString("0.00", CultureInfo.InvariantCulture) : "";

    static string Number(double value) =>
        value.ToString(value >= 1000 ? "#,0" : value >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);
}
