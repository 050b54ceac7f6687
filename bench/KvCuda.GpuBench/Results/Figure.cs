using System.Text.Json.Nodes;

namespace KvCuda.GpuBench;

/// <summary>One measured figure.</summary>
/// <param name="Key">what programs find it by: "decode/1.1B/1"; the same from run to run</param>
/// <param name="What">what people read: "1.1B, 1 sequence after 128 tokens"</param>
/// <param name="Value">the figure</param>
/// <param name="Unit">its unit: tokens/s, us, GB/s</param>
internal sealed record Figure(string Key, string What, double Value, string Unit)
{
    /// <summary>Time of one call or step, or 0.</summary>
    public double Microseconds { get; init; }

    /// <summary>Bytes that must cross the memory bus in that time at least, or 0.</summary>
    public double Bytes { get; init; }

    /// <summary>Multiplications plus additions in that time, or 0.</summary>
    public double Flops { get; init; }

    /// <summary>What the target speaks of, or NaN.</summary>
    public double Share { get; init; } = double.NaN;

    /// <summary>What <see cref="Share"/> is a share of: copy, roofline, cuBLAS, law, best peer.</summary>
    public string Of { get; init; } = "";

    public Target? Target { get; init; }

    /// <summary>What a reader must know to understand the figure.</summary>
    public string Note { get; init; } = "";

    /// <summary>As it stands in the results, with its shares of the ceilings.</summary>
    public JsonObject Json(Ceilings ceilings)
    {
        var json = new JsonObject { ["key"] = Key, ["what"] = What, ["value"] = Value, ["unit"] = Unit };
        double seconds = Microseconds * 1e-6;
        if (Microseconds > 0)
        {
            json["us"] = Microseconds;
        }
        if (Bytes > 0 && seconds > 0)
        {
            json["bytes"] = Bytes;
            json["gb_per_s"] = Bytes / seconds / 1e9;
            Add(json, "of_copy", Bytes / seconds, ceilings.CopyBytesPerSecond);
            Add(json, "of_read", Bytes / seconds, ceilings.ReadBytesPerSecond);
        }
        if (Flops > 0 && seconds > 0)
        {
            json["flops"] = Flops;
            json["tflop_per_s"] = Flops / seconds / 1e12;
            Add(json, "of_cublas", Flops / seconds, ceilings.CublasFlopsPerSecond);
        }
        if (!double.IsNaN(Share))
        {
            json["share"] = Share;
            json["of"] = Of;
        }
        if (Target is { } target)
        {
            json["credible"] = target.Credible;
            json["ambitious"] = target.Ambitious;
            if (target.Less)
            {
                json["less"] = true;
            }
            // A ceiling that this machine does not have leaves the target open.
            double judged = Of.Length == 0 ? Value : Share;
            json["verdict"] = double.IsNaN(judged) ? "not judged" : target.Verdict(judged);
        }
        if (Note.Length > 0)
        {
            json["note"] = Note;
        }
        return json;
    }

    static void Add(JsonObject json, string name, double rate, double ceiling)
    {
        if (ceiling > 0)
        {
            json[name] = rate / ceiling;
        }
    }
}
