using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace KvCuda.GpuBench;

/// <summary>Results for people: what was reached of the targets, then every figure.</summary>
internal static class Markdown
{
    public static string Of(JsonObject root)
    {
        var text = new StringBuilder();
        JsonObject run = root["run"]?.AsObject() ?? [];
        text.AppendLine($"# {run["device"]}");
        text.AppendLine();
        text.AppendLine(string.Join("; ", run.Where(p => p.Key != "device").Select(p => $"{p.Key}: {p.Value}")) + ".");
        text.AppendLine("What the columns mean, how to print this again, and where the targets come from: README.md beside this file.");
        JsonObject sections = root["sections"]?.AsObject() ?? [];
        Ceilings(text, root["ceilings"]?.AsObject());
        Verdicts(text, sections);
        foreach (Section section in Section.All)
        {
            if (sections[section.Name]?.AsObject() is { } entry)
            {
                Write(text, section, entry);
            }
        }
        string[] missing = [.. Section.All.Where(s => sections[s.Name] is null).Select(s => s.Name)];
        if (missing.Length > 0)
        {
            text.AppendLine();
            text.AppendLine($"Not measured in this run: {string.Join(", ", missing)}.");
        }
        return text.ToString();
    }

    static void Ceilings(StringBuilder text, JsonObject? ceilings)
    {
        if (ceilings is null)
        {
            return;
        }
        double cublas = Value(ceilings, "cublas_flops_per_s");
        text.AppendLine();
        text.AppendLine("| ceiling of this run | |");
        text.AppendLine("|---|--:|");
        text.AppendLine($"| copy, bytes read + written | {Number(Value(ceilings, "copy_bytes_per_s") / 1e9)} GB/s |");
        text.AppendLine($"| read | {Number(Value(ceilings, "read_bytes_per_s") / 1e9)} GB/s |");
        text.AppendLine($"| cuBLAS, bf16, random numbers | {(cublas > 0 ? Number(cublas / 1e12) + " TFLOP/s" : "not on this machine")} |");
    }

    // The answer first: every figure that has a target, in the order of the sections.
    static void Verdicts(StringBuilder text, JsonObject sections)
    {
        JsonObject[] judged = [.. Section.All.Where(s => sections[s.Name] is not null)
            .SelectMany(s => sections[s.Name]!["figures"]!.AsArray()).Select(f => f!.AsObject()).Where(f => f["verdict"] is not null)];
        if (judged.Length == 0)
        {
            return;
        }
        text.AppendLine();
        text.AppendLine("## Against the targets");
        text.AppendLine();
        text.AppendLine("| figure | reached | credible | ambitious | |");
        text.AppendLine("|---|--:|--:|--:|---|");
        foreach (JsonObject f in judged)
        {
            string of = (string?)f["of"] ?? "";
            string reached = of.Length == 0 ? $"{Number(Value(f, "value"))} {f["unit"]}"
                : f["share"] is null ? "-" : $"{Share(f, "share")} of {of}";
            text.AppendLine($"| {f["what"]} | {reached} | {Bound(f, "credible")} | {Bound(f, "ambitious")} | {Mark((string?)f["verdict"])} |");
        }
    }

    static void Write(StringBuilder text, Section section, JsonObject entry)
    {
        text.AppendLine();
        text.AppendLine($"## {section.Title}");
        text.AppendLine();
        string seconds = entry["seconds"] is { } s ? $" ({Number(s.GetValue<double>())} s)" : "";
        text.AppendLine($"{section.About} State: {entry["state"]}{seconds}.");
        JsonObject[] figures = [.. entry["figures"]!.AsArray().Select(f => f!.AsObject())];
        if (figures.Length == 0)
        {
            return;
        }
        text.AppendLine();
        text.AppendLine("| what | figure | us | GB/s | of copy | of read | TFLOP/s | of cuBLAS | note |");
        text.AppendLine("|---|--:|--:|--:|--:|--:|--:|--:|---|");
        foreach (JsonObject f in figures)
        {
            text.AppendLine($"| {f["what"]} | {Number(Value(f, "value"))} {f["unit"]} | {Optional(f, "us")} | {Optional(f, "gb_per_s")} | "
                + $"{Share(f, "of_copy")} | {Share(f, "of_read")} | {Optional(f, "tflop_per_s")} | {Share(f, "of_cublas")} | {f["note"]} |");
        }
    }

    static string Bound(JsonObject f, string name) => (f["less"] is null ? "" : "≤ ") + Value(f, name).ToString("0.##", CultureInfo.InvariantCulture);

    static string Mark(string? verdict) => verdict == "missed" ? "**missed**" : verdict ?? "";

    static double Value(JsonObject json, string name) => json[name]?.GetValue<double>() ?? 0;

    static string Optional(JsonObject f, string name) => f[name] is null ? "" : Number(Value(f, name));

    static string Share(JsonObject f, string name) => f[name] is null ? "" : Value(f, name).ToString("0.00", CultureInfo.InvariantCulture);

    public static string Number(double value) => value.ToString(
        Math.Abs(value) switch { >= 1000 => "#,0", >= 100 => "0", >= 10 => "0.0", 0 => "0", _ => "0.00" }, CultureInfo.InvariantCulture);
}
