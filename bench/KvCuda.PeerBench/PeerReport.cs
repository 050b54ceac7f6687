using System.Globalization;
using System.Text;
using System.Text.Json;
using KvCuda.Tensors;
using static KvCuda.PeerBench.Comparison;

namespace KvCuda.PeerBench;

/// <summary>The comparisons as a page for people (which is also what the command prints) and as JSON.</summary>
internal sealed class PeerReport(IReadOnlyList<Comparison> comparisons, int threads, string command, string? noPeer)
{
    readonly StringBuilder text = new();
    readonly string date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    public string Markdown()
    {
        text.Clear();
        Line($"# {Machine.Processor} ({Machine.Stepping}), {threads} thread{(threads == 1 ? "" : "s")}");
        Line();
        Line($"`{command}` at commit {Machine.Commit}, {date}. {Environment.ProcessorCount} cores. .NET sees {Machine.InstructionSets}.");
        Line();
        Line("All contenders run the same numbers as weights, each alone in its process; they take turns in every round, so that both");
        Line("sides of a ratio met the same machine. Figures are medians of the rounds (smallest - largest); ratios are medians of the rounds'");
        Line("own ratios, above 1 where KvCuda is better. Shares are of what plain loops reached in the same run.");
        if (noPeer is not null)
        {
            Line();
            Line($"**Without a peer**: {noPeer}. The figures are KvCuda's alone.");
        }
        foreach (Comparison comparison in comparisons)
        {
            Model(comparison);
        }
        return text.ToString();
    }

    void Model(Comparison c)
    {
        Samples s = c.Samples;
        string stored = c.Model.Type.Name();
        Line();
        Line($"## {c.Model.Name}, {stored}");
        Line();
        foreach ((string who, string what) in c.Descriptions.Where(d => d.Key is not Consistent and not Int8 and not PeerQuantised))
        {
            Line($"- {who}: {what}");
        }
        if (c.Model.NoPeer is { } why && noPeer is null)
        {
            Line($"- without llama.cpp: {why}");
        }
        if (c.Agreement is var (difference, deviation, same))
        {
            Line(string.Create(CultureInfo.InvariantCulture, $"- the two agree on the weights: largest difference of a logit {difference:F3} (their standard deviation is {deviation:F2}), the likeliest token is {(same ? "the same" : "another")}"));
        }
        Disturbance(c);
        if (s.Of(Prefill, Fast).Count + s.Of(Decode, Fast).Count + s.Of(Long, Fast).Count + s.Of(Batch, Fast).Count + s.Of(First, Fast).Count == 0)
        {
            SharingTable(c);
            return;
        }
        Line();
        Line($"| | KvCuda {stored} | llama.cpp {stored} | ratio | KvCuda int8 | llama.cpp q8_0 | ratio |");
        Line("|---|--:|--:|--:|--:|--:|--:|");
        Row(c, $"prefill {c.PromptTokens}, tokens/s", Prefill, Fast);
        Row(c, $"prefill {c.PromptTokens}, numerics consistent, tokens/s", Prefill, Consistent);
        Row(c, $"decode after it ({c.Plan.Steps} tokens), tokens/s", Decode, Fast);
        Row(c, $"decode at context {c.LongTokens}, tokens/s", Long, Fast);
        Row(c, $"decode, {c.Plan.BatchSequences} together after {c.Plan.BatchPrompt} tokens each, tokens/s of all", Batch, Fast);
        Row(c, "load to first token, warm file, s", First, Fast, lessIsBetter: true);
        Row(c, "peak memory (VmHWM), MB", Peak, Fast, lessIsBetter: true, unit: 1e6);
        Physics(c);
        Load(c);
        Memory(c);
        SharingTable(c);
    }

    void Row(Comparison c, string label, string what, string ours, bool lessIsBetter = false, double unit = 1)
    {
        Samples s = c.Samples;
        if (s.Of(what, ours).Count == 0)
        {
            return;
        }
        Line($"| {label} | {Spread(s.Of(what, ours), unit)} | {Spread(s.Of(what, Peer), unit)} | {Ratio(s.Ratio(what, ours, Peer, lessIsBetter))} "
            + (ours == Fast
                ? $"| {Spread(s.Of(what, Int8), unit)} | {Spread(s.Of(what, PeerQuantised), unit)} | {Ratio(s.Ratio(what, Int8, PeerQuantised, lessIsBetter))} |"
                : "| | | |"));
    }

    void Disturbance(Comparison c)
    {
        if (c.Foreign.Count == 0)
        {
            return;
        }
        double most = c.Foreign.Max(), median = Samples.MedianOf(c.Foreign);
        Line(string.Create(CultureInfo.InvariantCulture,
            $"- while a contender ran, others had {median:P1} of the machine (median; at most {most:P1}); load {Machine.Load} at the end"
            + $"{(median > 0.03 || most > 0.15 ? ": **disturbed**, measure again on a quiet machine" : "")}"));
    }

    void Physics(Comparison c)
    {
        Samples s = c.Samples;
        if (s.Of(ReadAll, "").Count == 0)
        {
            return;
        }
        double read1 = s.Median(Read1, ""), read = s.Median(ReadAll, ""), flops1 = s.Median(Flops1, ""), flops = s.Median(FlopsAll, "");
        double step = c.Model.StepBytes(c.Model.Type.Bytes());
        Line();
        Line("### Shares of what the machine can do");
        Line();
        Line($"Reading {Number(c.YardstickBytes / 1e6)} MB (a decode step reads {Number(step / 1e6)} MB of weights): {Number(read1 / 1e9)} GB/s with 1 thread, {Number(read / 1e9)} with {threads}. "
            + $"Multiply-adds: {Number(flops1 / 1e9)} GFLOP/s with 1 thread, {Number(flops / 1e9)} with {threads}"
            + (s.Of(TilesAll, "").Count == 0 ? "." : "; of bf16 on AMX tiles "
                + $"{Number(s.Median(Tiles1, "") / 1e9)} and {Number(s.Median(TilesAll, "") / 1e9)}, of which KvCuda needs two for one: it keeps 16 bits of an activation. "
                + "Shares are of the vectors' rate, and exceed 1 where tiles do the work."));
        Line();
        Line("| | KvCuda | share | llama.cpp | share |");
        Line("|---|--:|--:|--:|--:|");
        if (s.Of(Decode, Fast).Count == 0)
        {
            return;
        }
        double ours = s.Median(Decode, Fast) * step, theirs = s.Median(Decode, Peer) * step;
        Line($"| decode, weights read, GB/s | {Number(ours / 1e9)} | {Share(ours / read)} | {Number(theirs / 1e9)} | {Share(theirs / read)} |");
        double perToken = c.Model.PromptFlops(c.PromptTokens) / c.PromptTokens;
        foreach ((string label, string who) in new[] { ("", Fast), (", consistent", Consistent) })
        {
            (ours, theirs) = (s.Median(Prefill, who) * perToken, s.Median(Prefill, Peer) * perToken);
            Line($"| prefill{label}, GFLOP/s | {Number(ours / 1e9)} | {Share(ours / flops)} | {Number(theirs / 1e9)} | {Share(theirs / flops)} |");
        }
    }

    // Where the time to the first token goes.
    void Load(Comparison c)
    {
        Samples s = c.Samples;
        if (s.Of(First, Fast).Count == 0)
        {
            return;
        }
        Line();
        Line("### Load");
        Line();
        Line("Seconds from a process that is up (.NET's run time included in both, nothing of either engine) to the first token of a 16-token prompt; the");
        Line("file is in the system's cache. What remains after loading and the prompt itself is paid once: KvCuda's code is compiled while it first runs.");
        Line();
        Line("| | to first token | of it loading | the same prompt again | paid once |");
        Line("|---|--:|--:|--:|--:|");
        foreach (string who in new[] { Fast, Peer, Int8, PeerQuantised }.Where(who => s.Of(First, who).Count > 0))
        {
            double first = s.Median(First, who), opened = s.Median(Opened, who), again = s.Median(Again, who);
            Line($"| {Named(c, who)} | {Seconds(first)} | {Seconds(opened)} | {Seconds(again)} | {Seconds(Math.Max(0, first - opened - again))} |");
        }
    }

    void Memory(Comparison c)
    {
        Samples s = c.Samples;
        if (s.Of(Peak, Fast).Count > 0)
        {
            double perToken = 2.0 * c.Model.Config.Layers * c.Model.Config.KvSize;
            double ours = perToken * c.Model.Type.Bytes() * c.LoadTokens, theirs = perToken * 2 * c.LoadContext;
            Line();
            Line("### Memory");
            Line();
            Line($"The most that a process ever had in memory (VmHWM, mapped files included), after a prompt of {c.LoadTokens - 32} tokens and 32 steps. Keys and values are those of");
            Line($"{c.LoadTokens} tokens; llama.cpp's, in f16, those of its context of {c.LoadContext}. The run time of .NET is included in all. KvCuda is to stay within 300 MB beyond weights, keys and values.");
            Line();
            Line("| MB | weights | keys and values | peak | beyond |");
            Line("|---|--:|--:|--:|--:|");
            (string Who, double Weights, double Kv)[] rows =
            [
                (Fast, c.Model.WeightBytes(c.Model.Type.Bytes()), ours), (Peer, FileBytes(c.Model.Gguf?.Stored), theirs),
                (Int8, c.Model.Int8Bytes, ours), (PeerQuantised, FileBytes(c.Model.Gguf?.Quantised), theirs),
            ];
            foreach ((string who, double weights, double kv) in rows.Where(row => s.Of(Peak, row.Who).Count > 0))
            {
                double peak = s.Median(Peak, who), beyond = peak - weights - kv;
                Line($"| {Named(c, who)} | {Number(weights / 1e6)} | {Number(kv / 1e6)} | {Number(peak / 1e6)} | {Number(beyond / 1e6)}{(who is Fast or Int8 && beyond > 300e6 ? " **too much**" : "")} |");
            }
        }
        if (c.Allocated is var (step, streamed))
        {
            Line();
            Line($"Allocated on the managed heap per decode step: {Number(step)} bytes by the step, {Number(streamed)} with the stream to the caller.");
        }
    }

    static double FileBytes(string? path) => path is null ? double.NaN : new FileInfo(path).Length;

    static string Named(Comparison c, string who) => who is Fast or Peer ? $"{who} {c.Model.Type.Name()}" : who;

    void SharingTable(Comparison c)
    {
        if (c.SharingMaps.Count == 0)
        {
            return;
        }
        int[] contexts = [.. c.Plan.SharingContexts.Where(context => c.Samples.Of($"shared {context}", c.SharingMaps[0].Map).Count > 0)];
        Line();
        Line("### Sharing");
        Line();
        Line("The same weights when only half and a quarter of the layers own keys and values (experimental maps: the text would be another). Memory per token shrinks with");
        Line("the owners. A decode step saves the key and value projections of the others, but every layer still reads the keys and values that it attends to: shared ones");
        Line("come from a cache instead of memory where the processor's holds them, and attention computes as much as before.");
        Line();
        Line($"| map | bytes per token |{string.Concat(contexts.Select(context => $" at {context}: MB | tokens/s | ratio |"))}");
        Line($"|---|--:|{string.Concat(contexts.Select(_ => "--:|--:|--:|"))}");
        foreach ((string map, double bytes) in c.SharingMaps)
        {
            Line($"| `{map}` | {Number(bytes)} |" + string.Concat(contexts.Select(context =>
                $" {Number(bytes * context / 1e6)} | {Spread(c.Samples.Of($"shared {context}", map), 1)} | {Ratio(c.Samples.Ratio($"shared {context}", map, c.SharingMaps[0].Map))} |")));
        }
    }

    /// <summary>All samples.</summary>
    public string Json()
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new() { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("processor", Machine.Processor);
            json.WriteString("stepping", Machine.Stepping);
            json.WriteString("instruction_sets", Machine.InstructionSets);
            json.WriteNumber("threads", threads);
            json.WriteString("commit", Machine.Commit);
            json.WriteString("date", date);
            json.WriteString("command", command);
            json.WriteString("without_peer", noPeer);
            json.WriteStartArray("models");
            foreach (Comparison c in comparisons)
            {
                json.WriteStartObject();
                json.WriteString("model", c.Model.Name);
                json.WriteString("type", c.Model.Type.Name());
                json.WriteNumber("step_bytes", c.Model.StepBytes(c.Model.Type.Bytes()));
                json.WriteNumber("prompt_flops", c.Model.PromptFlops(c.PromptTokens));
                json.WriteNumber("foreign_share_median", c.Foreign.Count == 0 ? 0 : Samples.MedianOf(c.Foreign));
                json.WriteNumber("foreign_share_most", c.Foreign.DefaultIfEmpty(0).Max());
                if (c.Allocated is var (step, streamed))
                {
                    json.WriteNumber("allocated_per_step", step);
                    json.WriteNumber("allocated_per_streamed_step", streamed);
                }
                json.WriteStartObject("kv_bytes_per_token");
                foreach ((string map, double bytes) in c.SharingMaps)
                {
                    json.WriteNumber(map, bytes);
                }
                json.WriteEndObject();
                json.WriteStartArray("samples");
                foreach ((string what, string who, IReadOnlyList<double> values) in c.Samples.All)
                {
                    json.WriteStartObject();
                    json.WriteString("what", what);
                    json.WriteString("who", who);
                    json.WriteStartArray("rounds");
                    foreach (double value in values)
                    {
                        json.WriteNumberValue(Math.Round(value, 4));
                    }
                    json.WriteEndArray();
                    json.WriteEndObject();
                }
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    void Line(string line = "") => text.Append(line).Append('\n');

    static string Spread(IReadOnlyList<double> values, double unit) => values.Count == 0 ? ""
        : $"{Number(Samples.MedianOf(values) / unit)} ({Number(values.Min() / unit)} - {Number(values.Max() / unit)})";

    static string Ratio((double Median, double Least, double Most)? ratio) => ratio is var (median, least, most)
        ? string.Create(CultureInfo.InvariantCulture, $"**{median:F2}** ({least:F2} - {most:F2})") : "";

    static string Seconds(double seconds) => seconds.ToString("0.000", CultureInfo.InvariantCulture);

    static string Share(double share) => double.IsFinite(share) ? share.ToString("0.00", CultureInfo.InvariantCulture) : "";

    static string Number(double value) => double.IsNaN(value) ? ""
        : value.ToString(Math.Abs(value) >= 100 ? "#,0" : value == Math.Floor(value) ? "0" : value >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);
}
