// `kvcuda plan`: which map and which format fit a memory, a load and a latency, and why.
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using KvCuda.Model;
using KvCuda.Study;
using KvCuda.Tensors;

namespace KvCuda.Cli;

/// <summary>Choosing a sharing map and a format before training or serving.</summary>
internal static class PlanCommand
{
    public static Command Create()
    {
        Argument<string> model = new("MODEL") { Description = "A model folder, a shape (110M, 1.1B, 7B) or a config.json." };
        Option<string> memory = new("--memory") { Description = "For weights, keys and values: 24GiB, ...", Required = true };
        Option<int> prompt = new("--prompt") { Description = "Tokens of a prompt.", DefaultValueFactory = _ => 512 };
        Option<int> generate = new("--generate") { Description = "Tokens of an answer.", DefaultValueFactory = _ => 512 };
        Option<int> concurrency = new("--concurrency") { Description = "Sequences at once.", DefaultValueFactory = _ => 8 };
        Option<double?> ttft = new("--ttft") { Description = "Most milliseconds to the first token." };
        Option<double?> quality = new("--quality") { Description = "Largest perplexity as a multiple of the reference's, as 1.02; maps whose quality is unknown are then refused." };
        Option<string?> study = new("--study") { Description = "A study.json of `kvcuda study`: where quality was measured." };
        Option<string?> formats = new("--formats") { Description = "Formats of keys and values. Default: bf16 and f32." };
        Option<string?> owners = new("--kv-layers") { Description = "Numbers of KV layers. Default: a half and a quarter." };
        Option<string[]> maps = new("--map") { Description = "A further map; any number of times.", AllowMultipleArgumentsPerToken = true };
        Option<string> device = new("--device") { Description = "Where speed is calibrated: auto, cpu, cuda.", DefaultValueFactory = _ => "auto" };
        Option<int> threads = new("--threads") { Description = "Threads of the CPU backend; 0 is one per core." };
        Option<bool> check = new("--check") { Description = "Measure decode steps of the pick, too, and say how wrong the prediction was." };
        Option<bool> json = new("--json") { Description = "One JSON object." };
        Command command = new("plan", "Choose a sharing map and a format for a memory, a load and a latency.") { model };
        foreach (Option option in new Option[] { memory, prompt, generate, concurrency, ttft, quality, study, formats, owners, maps, device, threads, check, json })
        {
            command.Add(option);
        }
        command.SetAction(parsed =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output, error = parsed.InvocationConfiguration.Error;
            string name = parsed.GetValue(model)!;
            StudyModel asked = Directory.Exists(name) ? StudyCommand.Models([name], [])[0] : StudyCommand.Models([], [name])[0];
            int tokens = parsed.GetValue(prompt), answers = parsed.GetValue(generate), together = parsed.GetValue(concurrency);
            if (tokens < 1 || answers < 1 || together < 1)
            {
                throw new InvalidRequestException("--prompt, --generate and --concurrency are at least 1.");
            }
            var wish = new PlanWish(ModelOptions.Bytes(parsed.GetValue(memory)!), new(tokens, answers), together,
                parsed.GetValue(ttft) / 1e3 ?? double.PositiveInfinity, parsed.GetValue(quality) ?? double.PositiveInfinity);
            string[] kinds = StudyCommand.Split(parsed.GetValue(formats) ?? "bf16,f32");
            int[] counts = [.. StudyCommand.Split(parsed.GetValue(owners)).Select(text => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int n) ? n
                : throw new InvalidRequestException($"--kv-layers is a list of numbers as 4,2; '{text}' is none."))];
            IReadOnlyList<StudyMap> all = StudyMap.All(asked.Config, counts, parsed.GetValue(maps) ?? [], asked.Random);
            CostModel cost = CostModel.Measure(asked.Folder, parsed.GetValue(device)!, parsed.GetValue(threads), error.WriteLine);
            ResultSet? known = parsed.GetValue(study) is { } path ? ResultSet.Load(path) : null;
            SharingPlan plan = Planner.Make(asked.Config, (asked.Config.Type ?? DType.BF16).Bytes(), wish, cost, all, kinds,
                (map, format) => Ratio(known, asked, map, format));
            if (parsed.GetValue(json))
            {
                WriteJson(output, plan, cost);
            }
            else
            {
                Write(output, asked, wish, plan);
            }
            if (parsed.GetValue(check) && (plan.Pick ?? plan.ToTrain) is { } row)
            {
                Check(output, asked, row, wish, cost, parsed.GetValue(device)!, parsed.GetValue(threads));
            }
            return plan.Pick is null && !asked.Random ? CommandLine.JobFailed : CommandLine.Done;
        });
        return command;
    }

    static double? Ratio(ResultSet? known, StudyModel model, string map, string format)
    {
        if (known?.Cells.FirstOrDefault(cell => cell.Model == model.Name && cell.Map == map && cell.Format == format && cell.Measure == "ln_perplexity_ratio") is { } cell)
        {
            return Math.Exp(cell.Value);
        }
        return !model.Random && format == "f32" && map == LoadedModel.SharingOf(model.Config, null).ToString() ? 1 : null;
    }

    static void Write(TextWriter output, StudyModel model, PlanWish wish, SharingPlan plan)
    {
        output.WriteLine($"{model.Name}, {Figures.Bytes(wish.MemoryBytes)}, {wish.Concurrency} sequences of {wish.Mix} tokens");
        output.WriteLine();
        output.WriteLine($"  {"map",-34} {"format",-6} {"B/token",9} {"weights",10} {"KV",10} {"most",6} {"first, ms",10} {"tokens/s",10} {"each",8} {"perplexity",11}");
        foreach (PlanRow row in plan.Rows.OrderBy(row => row.KvBytes).ThenByDescending(row => row.TokensPerSecond))
        {
            string name = row.Map.Names.Split(" = ")[0];
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{(row == plan.Pick ? ">" : row.OnFront ? "*" : " ")} {(name.Length > 33 ? name[..33] : name),-34} {row.Format,-6} {row.BytesPerToken,9:N0} {Figures.Bytes(row.WeightBytes),10} {Figures.Bytes(row.KvBytes),10} {row.MostSequences,6} {row.FirstToken * 1e3,10:F1} {row.TokensPerSecond,10:F1} {row.TokensPerSecondEach,8:F1} {(row.PerplexityRatio is { } r ? $"x {r:F3}" : "unknown"),11}{(row.Refused is { } why ? $"   {why}" : "")}"));
        }
        output.WriteLine();
        output.WriteLine("> picked, * on the front of memory, first token and throughput");
        output.WriteLine();
        foreach (string reason in plan.Reasons)
        {
            output.WriteLine(reason);
        }
    }

    static void WriteJson(TextWriter output, SharingPlan plan, CostModel cost)
    {
        object? Of(PlanRow? row) => row is null ? null : new
        {
            map = row.Map.Map, names = row.Map.Names, trained = row.Map.Trained, format = row.Format, bytes_per_token = row.BytesPerToken, weight_bytes = row.WeightBytes,
            kv_bytes = row.KvBytes, most_sequences = row.MostSequences, first_token_ms = row.FirstToken * 1e3, tokens_per_s = row.TokensPerSecond,
            tokens_per_s_each = row.TokensPerSecondEach, perplexity_ratio = row.PerplexityRatio, on_front = row.OnFront, refused = row.Refused,
        };
        output.WriteLine(JsonSerializer.Serialize(new
        {
            pick = Of(plan.Pick), to_train = Of(plan.ToTrain), reasons = plan.Reasons, predicted_error = cost.RelativeError, rows = plan.Rows.Select(Of),
        }));
    }

    static void Check(TextWriter output, StudyModel model, PlanRow row, PlanWish wish, CostModel cost, string device, int threads)
    {
        int batch = Math.Min(wish.Concurrency, 16), context = Math.Min(wish.Mix.Prompt + (wish.Mix.Generate / 2), 2048);
        using LoadedModel loaded = LoadedModel.Load(model.Folder, new()
        {
            Device = device, Threads = threads, Sharing = row.Map.Experiment, KvType = row.Format, MaxSequences = batch, MaxStepTokens = Math.Max(16, batch), MaxContext = context + 16,
            KvBudgetBytes = Capacity.Budget(Formats.Layout(model.Config, row.Map.Sharing, row.Format), batch, context + 16),
        });
        using var loop = new StepLoop(loaded, batch);
        loop.Grow(context);
        loop.Seconds(2);
        double measured = Samples.MedianOf(loop.Seconds(7)), predicted = cost.Step(StepWork.Of(model.Config, row.Map.Sharing,
            (model.Config.Type ?? DType.BF16).Bytes(), loaded.KvType.Bytes(), batch, context));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"Checked: a step of {batch} sequences at {context} tokens takes {measured * 1e3:F2} ms, predicted were {predicted * 1e3:F2} ms ({(predicted / measured) - 1:+0%;-0%}; stated ±{cost.RelativeError:P0})."));
    }
}
