// The report of a study: one self-contained HTML page, the same as Markdown, and the cells as JSON.
using System.Globalization;
using System.Net;
using System.Text;
using KvCuda.Statistics;

namespace KvCuda.Study;

/// <summary>Tables and pictures of the cells.</summary>
internal sealed class StudyReport(ResultSet results, IReadOnlyList<StudyModel> models, IReadOnlyList<string> leftOut)
{
    readonly StringBuilder html = new(), text = new();

    static string E(string text) => WebUtility.HtmlEncode(text);

    /// <summary>Both pages.</summary>
    public (string Html, string Markdown) Write()
    {
        html.Clear();
        text.Clear();
        MachineInfo m = results.Machine;
        Heading(1, "Which layers should share keys and values?");
        Paragraph($"Measured on {m.Processor} ({m.Stepping}), {m.Threads} of {m.Cores} threads, {m.InstructionSets}; {m.Runtime}; device {m.Device}; commit {m.Commit}; {results.Date}.");
        Command(results.Command);
        Paragraph("Bytes and batches are exact. Times are medians; ± is a standard error; n is the number of samples. On a shared machine compare ratios within "
            + "one table, not tables of two runs. A map other than the model's own is an experiment: the weights were not trained with it.");
        if (results.Cells.FirstOrDefault(cell => cell.Measure == "foreign_share") is { Value: >= 0 } foreign)
        {
            Paragraph(string.Create(CultureInfo.InvariantCulture, $"While it was measured, other programs had {foreign.Value:P0} of the machine"
                + $"{(foreign.Value > 0.05 ? ": **disturbed**. Speeds are noise; bytes, batches, quality and retrieval are not affected." : ".")}"));
        }
        if (leftOut.Count > 0)
        {
            Paragraph($"Left out because of the time allowed (--full measures them): {string.Join("; ", leftOut)}.");
        }
        foreach (StudyModel model in models)
        {
            List<Cell> cells = [.. results.Cells.Where(cell => cell.Model == model.Name)];
            if (cells.Count > 0)
            {
                Model(model, cells);
            }
        }
        return (Page(), text.ToString());
    }

    void Model(StudyModel model, List<Cell> cells)
    {
        Heading(2, model.Name);
        Paragraph($"{model.Config.Layers} layers, hidden {model.Config.HiddenSize}, {model.Config.Heads} heads, {model.Config.KvHeads} KV heads of {model.Config.HeadDim}, "
            + $"context {model.Config.MaxPositions}{(model.Random ? "; random weights: speed only, quality is untrained" : "")}.");
        var maps = cells.Where(cell => cell.Map.Length > 0).Select(cell => cell.Map).Distinct().ToList();
        string native = maps.FirstOrDefault() ?? "";
        var names = StudyMap.All(model.Config, [], [.. maps.Where(map => Owned(model, map))], model.Random).ToDictionary(map => map.Map);
        string Name(string map) => names.TryGetValue(map, out StudyMap? known) && known.Names != map ? known.Names : "";
        Overview(model, cells, maps, native, Name);
        Budget(model, cells, maps, native, Name);
        Pareto(model, cells, maps, native, Name);
        Quality(cells, maps, native, Name);
        Latency(cells, maps, Name);
        Retrieval(cells, maps);
        Search(cells);
        if (!cells.TrueForAll(cell => cell.Measure.Contains("quality", StringComparison.Ordinal)))
        {
            Claims(model, cells);
        }
    }

    static bool Owned(StudyModel model, string map)
    {
        try
        {
            return KvStore.LayerSharing.Parse(map, model.Config.Layers, model.Config.SharingWindow, model.Config.Windows).Owners
                .All(KvCuda.Model.LoadedModel.SharingOf(model.Config, null).Owns);
        }
        catch (KvCudaException)
        {
            return false;
        }
    }

    static Cell? Find(List<Cell> cells, string map, string measure, Func<Cell, bool>? also = null) =>
        cells.Find(cell => cell.Map == map && cell.Measure == measure && (also is null || also(cell)));

    void Overview(StudyModel model, List<Cell> cells, List<string> maps, string native, Func<string, string> name)
    {
        List<string[]> rows = [];
        foreach (string map in maps.Where(map => Find(cells, map, "kv_bytes_per_token") is not null))
        {
            Cell bytes = Find(cells, map, "kv_bytes_per_token", c => c.Format == Own(cells))!;
            Cell? first = cells.Where(c => c.Map == map && c.Measure == "time_to_first_token_ms").MinBy(c => c.Value);
            Cell? one = Find(cells, map, "decode_tokens_per_s", c => c.At.StartsWith("batch=1 ", StringComparison.Ordinal));
            Cell? eight = Find(cells, map, "decode_tokens_per_s", c => c.At.StartsWith("batch=8 ", StringComparison.Ordinal));
            Cell? energy = Find(cells, map, "energy_per_token");
            rows.Add([$"`{map}`", name(map), map == native ? model.Random ? "random" : "trained" : "experiment", Cell.Number(Find(cells, map, "kv_owner_layers")!.Value),
                Cell.Number(bytes.Value), first is null ? "" : $"{first.Text} ({first.At.Split(' ', 2)[1]})", one?.Text ?? "", eight?.Text ?? "", energy?.Text ?? ""]);
        }
        if (rows.Count == 0)
        {
            return;
        }
        bool energyKnown = rows.Exists(row => row[8].Length > 0);
        Cell? any = cells.Find(c => c.Measure == "time_to_first_token_ms"), decode = cells.Find(c => c.Measure == "decode_tokens_per_s");
        Heading(3, "Memory and speed");
        Table(["map", "name", "weights", "KV layers", $"KV bytes per token ({Own(cells)})", $"first token, ms ({any?.At.Split(' ')[0]})",
            $"decode, tokens/s ({decode?.At})", "batch 8", .. Enumerable.Repeat("J per token", energyKnown ? 1 : 0)], rows.ConvertAll(row => energyKnown ? row : row[..8]));
        if (!energyKnown)
        {
            Paragraph($"Energy per token: not measured, {Energy.Source}.");
        }
        Cell? integral = cells.Find(c => c.Measure == "integral_error");
        if (integral is not null)
        {
            Paragraph(string.Create(CultureInfo.InvariantCulture,
                $"Throughput of a mix is integrated from steps at five lengths. One mix ran whole ({integral.At}): the integral is off by {integral.Value:P1} ({integral.Note})."));
        }
    }

    static string Own(List<Cell> cells) => cells.Find(c => c.Measure == "decode_tokens_per_s")?.Format ?? cells.Find(c => c.Measure == "kv_bytes_per_token")?.Format ?? "";

    void Budget(StudyModel model, List<Cell> cells, List<string> maps, string native, Func<string, string> name)
    {
        List<Cell> throughput = cells.FindAll(cell => cell.Measure == "throughput");
        string? mix = throughput.Select(cell => cell.At.Split("mix=")[1]).GroupBy(m => m).OrderByDescending(g => g.Sum(_ => 1)).FirstOrDefault()?.Key;
        if (mix is null)
        {
            return;
        }
        Heading(3, "Throughput at a fixed budget of keys and values");
        double Share(Cell cell) => double.Parse(cell.At.Split('=')[1].Split('W')[0], CultureInfo.InvariantCulture);
        foreach (string each in throughput.Select(cell => cell.At.Split("mix=")[1]).Distinct())
        {
            List<string[]> rows = [];
            double[] shares = [.. throughput.Where(c => c.At.EndsWith($"mix={each}", StringComparison.Ordinal)).Select(Share).Distinct().Order()];
            foreach (string map in maps)
            {
                List<string> row = [$"`{map}`", name(map)];
                foreach (double share in shares)
                {
                    string at = string.Create(CultureInfo.InvariantCulture, $"budget={share}W mix={each}");
                    Cell? mine = Find(cells, map, "throughput", c => c.At == at), standard = Find(cells, native, "throughput", c => c.At == at);
                    Cell? batch = Find(cells, map, "largest_batch", c => c.At == at && c.Format == mine?.Format);
                    row.AddRange([batch is null ? "" : Cell.Number(batch.Value), mine is null ? "" : Cell.Number(mine.Value),
                        mine is null || standard is null or { Value: 0 } ? "" : (mine.Value / standard.Value).ToString("F2", CultureInfo.InvariantCulture)]);
                }
                if (row.Skip(2).Any(entry => entry.Length > 0))
                {
                    rows.Add([.. row]);
                }
            }
            Paragraph($"Mix {each} (prompt + generated); budgets in multiples of W, the bytes of weights that a step reads. n = 5 lengths.");
            Table(["map", "name", .. shares.SelectMany(share => new[] { string.Create(CultureInfo.InvariantCulture, $"{share} W: batch"), "tokens/s", "times" })], rows);
        }
        // Against the law: budget on the x axis, the ratio to the standard map on the y axis.
        List<Charts.Line> lines = [];
        double[] budgets = [.. throughput.Where(c => c.At.EndsWith($"mix={mix}", StringComparison.Ordinal)).Select(Share).Distinct().Order()];
        int color = 0;
        foreach (IGrouping<double, string> group in maps.Where(map => map != native && Find(cells, map, "kv_owner_layers") is not null)
            .GroupBy(map => model.Config.Layers / Find(cells, map, "kv_owner_layers")!.Value).OrderBy(group => group.Key).Take(4))
        {
            List<(double, double)> measured = [];
            foreach (double share in budgets)
            {
                string at = string.Create(CultureInfo.InvariantCulture, $"budget={share}W mix={mix}");
                double standard = Find(cells, native, "throughput", c => c.At == at)?.Value ?? 0;
                double[] ratios = [.. group.Select(map => Find(cells, map, "throughput", c => c.At == at)?.Value ?? 0).Where(value => value > 0 && standard > 0).Select(v => v / standard)];
                if (ratios.Length > 0)
                {
                    measured.Add((share, ratios.Max()));
                }
            }
            double least = budgets.Length > 0 ? budgets[0] / 2 : 0.25, most = budgets.Length > 0 ? budgets[^1] * 2 : 4;
            if (measured.Count > 0)
            {
                lines.Add(new($"1/{group.Key.ToString("0.#", CultureInfo.InvariantCulture)} of the layers own KV, best map measured", measured, color, Markers: Charts.Marker.FilledWithLine));
            }
            lines.Add(new($"law, s = {group.Key.ToString("0.#", CultureInfo.InvariantCulture)}", [.. Enumerable.Range(0, 33).Select(i => least * Math.Pow(most / least, i / 32.0))
                .Select(b => (b, SharingLaw.Ratio(group.Key, b, 0)))], color, Dashed: true));
            color++;
        }
        if (lines.Count > 0)
        {
            Figure(Charts.Draw("budget of keys and values, multiples of the weights", "throughput, times the standard map", lines, logX: true),
                $"Best measured map at each number of KV layers, mix {mix}, beside the law R(s) = s(1 + m) / (1 + s m) with no fixed cost per step. "
                + "The law counts bytes only; where arithmetic or a fixed cost rules, the gain is larger, and where batches are small, in whole sequences. n = 5 lengths per point.");
        }
    }

    void Pareto(StudyModel model, List<Cell> cells, List<string> maps, string native, Func<string, string> name)
    {
        List<Cell> perplexities = cells.FindAll(cell => cell.Measure == "perplexity");
        string? first = perplexities.FirstOrDefault()?.At;
        if (first is null)
        {
            return;
        }
        List<(Cell Quality, double Bytes)> points = [.. perplexities.Where(cell => cell.At == first)
            .Select(cell => (cell, Find(cells, cell.Map, "kv_bytes_per_token", c => c.Format == cell.Format)?.Value ?? double.NaN)).Where(p => !double.IsNaN(p.Item2))];
        if (points.Count < 2)
        {
            return;
        }
        var front = new List<(Cell Quality, double Bytes)>();
        foreach ((Cell quality, double bytes) in points.OrderBy(p => p.Bytes).ThenBy(p => p.Quality.Value))
        {
            if (front.Count == 0 || quality.Value < front[^1].Quality.Value)
            {
                front.Add((quality, bytes));
            }
        }
        Heading(3, "Quality against memory");
        List<Charts.Line> lines = [new("Pareto front", [.. front.Select(p => (p.Bytes, p.Quality.Value))], 7)];
        int color = 0;
        foreach (IGrouping<string, (Cell Quality, double Bytes)> format in points.GroupBy(p => p.Quality.Format))
        {
            var trained = format.Where(p => p.Quality.Map == native).Select(p => (p.Bytes, p.Quality.Value)).ToList();
            var others = format.Where(p => p.Quality.Map != native).Select(p => (p.Bytes, p.Quality.Value)).ToList();
            if (trained.Count > 0)
            {
                lines.Add(new($"{format.Key}, the map it was trained with", trained, color, Markers: Charts.Marker.Filled));
            }
            if (others.Count > 0)
            {
                lines.Add(new($"{format.Key}, other maps (not trained with them)", others, color, Markers: Charts.Marker.Hollow));
            }
            color++;
        }
        Figure(Charts.Draw("KV bytes per token", $"perplexity, {first}", lines, fromZero: false),
            $"Every map and format, n = {points[0].Quality.N} predictions each. On the front: {string.Join(", ", front.Select(p => $"{(name(p.Quality.Map) is { Length: > 0 } n ? n.Split(" = ")[0] : p.Quality.Map)} {p.Quality.Format}"))}.");
        _ = model;
    }

    void Quality(List<Cell> cells, List<string> maps, string native, Func<string, string> name)
    {
        foreach (string at in cells.Where(cell => cell.Measure == "perplexity").Select(cell => cell.At).Distinct())
        {
            List<Cell> tested = cells.FindAll(cell => cell.Measure == "ln_perplexity_ratio" && cell.At == at && !double.IsNaN(cell.P));
            double[] adjusted = Holm.Adjust([.. tested.Select(cell => cell.P)]);
            List<string[]> rows = [];
            foreach (string map in maps)
            {
                foreach (Cell perplexity in cells.Where(cell => cell.Map == map && cell.Measure == "perplexity" && cell.At == at))
                {
                    string Get(string measure) => Find(cells, map, measure, c => c.At == at && c.Format == perplexity.Format)?.Text ?? "";
                    int place = tested.FindIndex(cell => cell.Map == map && cell.Format == perplexity.Format);
                    string p = place < 0 ? "" : adjusted[place] < 0.001 ? "< 0.001" : adjusted[place].ToString("0.###", CultureInfo.InvariantCulture);
                    rows.Add([$"`{map}`", name(map), perplexity.Format, perplexity.Text, Get("ln_perplexity_ratio"), p, Get("kld_mean"), Get("kld_p99"), Get("same_top_token"), Get("delta_p_rms")]);
                }
            }
            if (rows.Count == 0)
            {
                continue;
            }
            Cell one = cells.Find(cell => cell.Measure == "perplexity" && cell.At == at)!;
            Heading(3, $"Quality on {at}");
            Paragraph($"n = {one.N} predictions. The reference is `{native}` with f32 keys and values; ln ratio, p, distances are to it. p: paired over windows, corrected by Holm "
                + "over all rows; empty where there is one window only. KLD: Kullback-Leibler distance of the predictions; Δp: change of the right token's probability.");
            Table(["map", "name", "format", "perplexity", "ln ratio", "p", "mean KLD", "99 % KLD", "same top token", "RMS Δp"], rows);
        }
        List<Cell> choices = cells.FindAll(cell => cell.Measure is "acc" or "acc_norm");
        if (choices.Count > 0)
        {
            Heading(3, "Multiple choice");
            Table(["map", "file", "score", "value", "n", "p (McNemar)"], choices.ConvertAll(c => new[] { $"`{c.Map}`", c.At, c.Measure, c.Text, $"{c.N}", Cell.Number(c.P) }));
        }
    }

    void Latency(List<Cell> cells, List<string> maps, Func<string, string> name)
    {
        foreach (string at in cells.Where(cell => cell.Measure == "decode_step_ms").Select(cell => cell.At).Distinct())
        {
            List<Charts.Line> lines = [];
            foreach (string map in maps)
            {
                if (Find(cells, map, "decode_step_ms", c => c.At == at) is { Samples.Count: > 3 } cell && lines.Count < 6)
                {
                    double[] sorted = [.. cell.Samples.Order()];
                    lines.Add(new(name(map) is { Length: > 0 } n ? n.Split(" = ")[0] : map, [.. sorted.Select((ms, i) => (ms, (i + 1.0) / sorted.Length))], lines.Count));
                }
            }
            if (lines.Count > 0)
            {
                Heading(3, $"Latency of a decode step, {at}");
                Figure(Charts.Draw("milliseconds", "share of steps that took no longer", lines),
                    $"Distribution of n = {cells.Find(c => c.Measure == "decode_step_ms" && c.At == at)!.N} steps per map, the first {lines.Count} maps.");
            }
        }
    }

    void Retrieval(List<Cell> cells, List<string> maps)
    {
        List<Cell> scores = cells.FindAll(cell => cell.Measure == "retrieval");
        if (scores.Count == 0)
        {
            return;
        }
        Heading(3, "Retrieval against length");
        Paragraph($"Share of answer tokens that the model finds likeliest, n = {scores[0].N} items per cell; synthetic tasks of token ids (copy, needle, multi-key, variable tracking). "
            + "Small models do not follow such tasks; what counts is the difference between maps.");
        string[] columns = [.. scores.Select(cell => cell.At).Distinct()];
        html.Append("<div class=wide><table class=heat><thead><tr><th>map");
        foreach (string column in columns)
        {
            html.Append("<th>").Append(E(column.Replace(" length=", "\n", StringComparison.Ordinal)));
        }
        html.Append("</thead><tbody>");
        List<string[]> rows = [];
        foreach (string map in maps.Where(map => scores.Exists(cell => cell.Map == map)))
        {
            html.Append("<tr><td><code>").Append(E(map)).Append("</code>");
            List<string> row = [$"`{map}`"];
            foreach (string column in columns)
            {
                Cell? cell = scores.Find(c => c.Map == map && c.At == column);
                string value = cell is null ? "" : cell.Value.ToString("F2", CultureInfo.InvariantCulture);
                html.Append(CultureInfo.InvariantCulture, $"<td style=\"--heat:{(cell?.Value ?? 0) * 100:F0}%\">").Append(value);
                row.Add(value);
            }
            rows.Add([.. row]);
        }
        html.Append("</tbody></table></div>\n");
        MarkdownTable(["map", .. columns], rows);
        List<Cell> effective = cells.FindAll(cell => cell.Measure == "effective_length");
        Paragraph($"Effective length ({effective.FirstOrDefault()?.Note}): {string.Join("; ", effective.Where(c => c.Map == maps[0]).Select(c => $"{c.At} {Cell.Number(c.Value)}"))} with the model's own map"
            + $"; longest of the others: {string.Join("; ", effective.Where(c => c.Map != maps[0]).GroupBy(c => c.At).Select(g => $"{g.Key} {Cell.Number(g.Max(c => c.Value))}"))}.");
    }

    void Search(List<Cell> cells)
    {
        List<Cell> found = cells.FindAll(cell => cell.Measure == "search_kld");
        if (found.Count == 0)
        {
            return;
        }
        Heading(3, "The best map found by search");
        Paragraph($"{found[0].Note}; mean KLD from the reference, without training. Beside it the best named downward map of the same number of owners, on the same tokens.");
        Table(["KV layers", "map found", "mean KLD", "best named map", "mean KLD"], found.ConvertAll(cell =>
        {
            Cell? named = cells.Where(c => c.Measure == "named_kld" && c.At == cell.At).MinBy(c => c.Value);
            return new[] { cell.At.Split('=')[1], $"`{cell.Map}`", Cell.Number(cell.Value), named is null ? "" : $"`{named.Map}`", named is null ? "" : Cell.Number(named.Value) };
        }));
    }

    void Claims(StudyModel model, List<Cell> cells)
    {
        Heading(3, "Published claims, measured again");
        Table(["claim", "measured here", "why they differ"], [.. ClaimRow.All(cells, model.Name, model.Config.Layers)
            .Select(row => new[] { $"{row.Source}: {row.Claim}", row.Measured, row.Why })]);
    }

    void Heading(int level, string title)
    {
        html.Append(CultureInfo.InvariantCulture, $"<h{level}>{E(title)}</h{level}>\n");
        text.Append('#', level).Append(' ').Append(title).Append("\n\n");
    }

    void Paragraph(string line)
    {
        html.Append("<p>").Append(Inline(line)).Append("</p>\n");
        text.Append(line).Append("\n\n");
    }

    void Command(string line)
    {
        html.Append("<pre>").Append(E(line)).Append("</pre>\n");
        text.Append("    ").Append(line).Append("\n\n");
    }

    void Table(string[] head, List<string[]> rows)
    {
        html.Append("<div class=wide><table><thead><tr>").AppendJoin("", head.Select(h => $"<th>{E(h)}")).Append("</thead><tbody>");
        foreach (string[] row in rows)
        {
            html.Append("<tr>").AppendJoin("", row.Select(entry => $"<td{(entry.Length <= 28 ? " class=n" : "")}>{Inline(entry)}"));
        }
        html.Append("</tbody></table></div>\n");
        MarkdownTable(head, rows);
    }

    void MarkdownTable(string[] head, List<string[]> rows)
    {
        text.Append("| ").AppendJoin(" | ", head).Append(" |\n|").Append(string.Concat(Enumerable.Repeat("---|", head.Length))).Append('\n');
        foreach (string[] row in rows)
        {
            text.Append("| ").AppendJoin(" | ", row.Select(entry => entry.Replace('|', '/'))).Append(" |\n");
        }
        text.Append('\n');
    }

    void Figure(string svg, string caption)
    {
        html.Append("<figure>").Append(svg).Append("<figcaption>").Append(Inline(caption)).Append(" Reprint: <code>").Append(E(results.Command))
            .Append("</code></figcaption></figure>\n");
        text.Append("(picture in the HTML page) ").Append(caption).Append("\n\n");
    }

    // `code` becomes code, **this** is strong.
    static string Inline(string line)
    {
        string[] parts = E(line).Split('`');
        string joined = string.Concat(parts.Select((part, i) => i % 2 == 1 && i < parts.Length - 1 ? $"<code>{part}</code>" : part));
        string[] bold = joined.Split("**");
        return string.Concat(bold.Select((part, i) => i % 2 == 1 && i < bold.Length - 1 ? $"<strong>{part}</strong>" : part));
    }

    string Page() => $$"""
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
        <title>KvCuda: which layers should share keys and values?</title>
        <style>
        :root { color-scheme: light dark; --ink: #1c2128; --faint: #8a94a3; --paper: #fff; --soft: #f3f5f8; --line: #dde2e9; --hot: #2c9c5a; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --faint: #7d8796; --paper: #14171c; --soft: #1d2229; --line: #313843; --hot: #37b36a; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
        h1 { font-size: 1.9rem; line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 2px solid var(--line); } h3 { margin-top: 2rem; }
        code, pre { font: 0.85em/1.5 ui-monospace, monospace; background: var(--soft); border-radius: 4px; } code { padding: 0.1em 0.3em; overflow-wrap: anywhere; }
        pre { padding: 0.7rem 1rem; overflow-x: auto; }
        .wide { overflow-x: auto; margin: 1rem 0; } table { border-collapse: collapse; font-size: 0.82rem; width: 100%; }
        th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; white-space: nowrap; font-variant-numeric: tabular-nums; }
        td { white-space: normal; min-width: 6rem; } .n { white-space: nowrap; min-width: 0; } th { background: var(--soft); white-space: pre-line; } td code { overflow-wrap: normal; white-space: nowrap; }
        .heat td[style] { background: color-mix(in srgb, var(--hot) var(--heat), transparent); text-align: center; white-space: nowrap; }
        figure { margin: 1.5rem 0; } svg { display: block; width: 100%; max-width: 44rem; height: auto; } svg text { font-family: system-ui, sans-serif; }
        .legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; font-size: 0.85rem; margin: 0.3rem 0; max-width: 44rem; } .legend i { display: inline-block; vertical-align: middle; margin-right: 0.4rem; }
        .line, .dash { width: 1.6rem; border-top: 2px solid var(--c); } .dash { border-top-style: dashed; } .dot, .hollow { width: 0.7rem; height: 0.7rem; border: 2px solid var(--c); border-radius: 50%; } .dot { background: var(--c); }
        figcaption { font-size: 0.85rem; color: var(--ink); opacity: 0.8; max-width: 44rem; }
        </style></head><body>
        {{html}}
        </body></html>
        """;
}
