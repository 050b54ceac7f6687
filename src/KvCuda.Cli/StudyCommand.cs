// `kvcuda study`: which sharing, at what price, as a page for people and as JSON.
using System.CommandLine;
using System.Globalization;
using KvCuda.Study;
using KvCuda.Weights;
using Spectre.Console;

namespace KvCuda.Cli;

/// <summary>The study of layer sharing and formats on this machine.</summary>
internal static class StudyCommand
{
    public static Command Create()
    {
        Argument<string[]> models = new("MODEL")
        {
            Description = "Model folders. Default: the models of ./weights.", Arity = ArgumentArity.ZeroOrMore,
        };
        Option<string[]> shapes = new("--shape")
        {
            Description = "Also a shape with random weights, for speed: 110M (the study's: 12 layers, 12/6 heads), 1.1B (TinyLlama's), or a config.json.",
            AllowMultipleArgumentsPerToken = true,
        };
        Option<string[]> maps = new("--map") { Description = "A further map, by name or as 0_0_2_2; any number of times.", AllowMultipleArgumentsPerToken = true };
        Option<string?> owners = new("--kv-layers") { Description = "Numbers of layers that own keys and values, as 4,2. Default: a half and a quarter." };
        Option<string?> formats = new("--formats") { Description = "Formats of keys and values, as f32,bf16. Default: f32 and the weights' own." };
        Option<string[]> mixes = new("--mix") { Description = "Prompt and generated tokens, as 512+1024. Default: the papers' four, shortened to the context.", AllowMultipleArgumentsPerToken = true };
        Option<string[]> texts = new("--text") { Description = "A text file, or a .json list of lists of token ids. Default: held-out.json beside the model, and two texts that come with the program.", AllowMultipleArgumentsPerToken = true };
        Option<string?> questions = new("--questions") { Description = "Multiple choice: JSON lines {\"context\": .., \"choices\": [..], \"gold\": 0}." };
        Option<string?> only = new("--only") { Description = $"Parts: {string.Join(", ", StudyOptions.Parts)}. Default: all." };
        Option<double> minutes = new("--minutes") { Description = "Time allowed; what would not fit is left out and named.", DefaultValueFactory = _ => 10 };
        Option<bool> full = new("--full") { Description = "No limit of time: every map, format, length and text." };
        Option<string> device = new("--device") { Description = "auto, cpu, cuda, cuda:N.", DefaultValueFactory = _ => "auto" };
        Option<int> threads = new("--threads") { Description = "Threads of the CPU backend; 0 is one per core." };
        Option<int> seed = new("--seed") { Description = "Of synthetic tasks.", DefaultValueFactory = _ => 1 };
        Option<int> repeats = new("--repeats") { Description = "Samples of each timed prompt.", DefaultValueFactory = _ => 3 };
        Option<int> search = new("--search") { Description = "Search maps down to this number of KV layers. Default: a quarter of the layers." };
        Option<string> cache = new("--cache-mix") { Description = "Prompt and new tokens of the part cache.", DefaultValueFactory = _ => "32+100" };
        Option<string?> render = new("--render") { Description = "Measure nothing: write the report of this study.json again." };
        Option<string> output = new("--out") { Description = "Folder of the report: study.html, study.md, study.json, and a journal from which a stopped study goes on.", DefaultValueFactory = _ => "kvcuda-study" };
        Command command = new("study", "Measure which layers should share keys and values, and what it costs: memory, speed, quality, retrieval.") { models };
        foreach (Option option in new Option[] { shapes, maps, owners, formats, mixes, texts, questions, only, minutes, full, device, threads, seed, repeats, search, cache, render, output })
        {
            command.Add(option);
        }
        command.SetAction((parsed, cancellation) =>
        {
            string folder = parsed.GetValue(output)!;
            var options = new StudyOptions
            {
                Models = Models(parsed.GetValue(models) ?? [], parsed.GetValue(shapes) ?? []),
                Maps = parsed.GetValue(maps) ?? [],
                Owners = [.. Split(parsed.GetValue(owners)).Select(text => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int n) && n > 0
                    ? n : throw new InvalidRequestException($"--kv-layers is a list of numbers as 4,2; '{text}' is none."))],
                Formats = Split(parsed.GetValue(formats)),
                Mixes = [.. (parsed.GetValue(mixes) ?? []).Select(Mix.Parse)],
                Texts = parsed.GetValue(texts) ?? [],
                Questions = parsed.GetValue(questions),
                Only = Split(parsed.GetValue(only)),
                Minutes = parsed.GetValue(full) ? 0 : parsed.GetValue(minutes),
                Device = parsed.GetValue(device)!,
                Threads = parsed.GetValue(threads),
                Seed = parsed.GetValue(seed),
                Repeats = Math.Max(1, parsed.GetValue(repeats)),
                SearchOwners = parsed.GetValue(search),
                Cache = Mix.Parse(parsed.GetValue(cache)!),
                Out = folder,
            };
            if (parsed.GetValue(render) is { } file)
            {
                ResultSet old = ResultSet.Load(file);
                Directory.CreateDirectory(folder);
                Write(folder, old, options.Models, LeftOut(old));
                return Task.FromResult(CommandLine.Done);
            }
            string line = "kvcuda " + string.Join(' ', parsed.Tokens.Select(token => token.Value.Contains(' ', StringComparison.Ordinal) ? $"\"{token.Value}\"" : token.Value));
            TextWriter error = parsed.InvocationConfiguration.Error;
            var run = new StudyRun(options, line, text => error.WriteLine(text));
            run.Plan();
            Show(error, progress => run.Run(progress, cancellation));
            List<Cell> cells = [.. run.Cells, .. run.LeftOut.Select(task => new Cell("study", "", "", "left_out", task, "", double.NaN) { N = 0 }),
                new Cell("machine", "", "", "foreign_share", "", "share", run.ForeignShare)];
            Write(folder, ResultSet.Of(MachineInfo.Here(options.Threads, options.Device), line, cells), options.Models, run.LeftOut);
            parsed.InvocationConfiguration.Output.WriteLine($"{Path.Combine(folder, "study.html")}, study.md, study.json: {run.Cells.Count} figures.");
            return Task.FromResult(CommandLine.Done);
        });
        return command;
    }

    static IReadOnlyList<string> LeftOut(ResultSet results) => [.. results.Cells.Where(cell => cell.Measure == "left_out").Select(cell => cell.At)];

    static void Write(string folder, ResultSet results, IReadOnlyList<StudyModel> models, IReadOnlyList<string> leftOut)
    {
        (string html, string markdown) = new StudyReport(results, models, leftOut).Write();
        File.WriteAllText(Path.Combine(folder, "study.html"), html);
        File.WriteAllText(Path.Combine(folder, "study.md"), markdown);
        File.WriteAllText(Path.Combine(folder, "study.json"), results.Json());
    }

    // A bar where somebody looks at it, a line per task where a file does.
    static void Show(TextWriter error, Action<IProgress<StudyProgress>> work)
    {
        static string Left(StudyProgress p) => TimeSpan.FromSeconds(p.SecondsLeft).ToString(@"h\:mm\:ss", CultureInfo.InvariantCulture);
        if (Console.IsErrorRedirected || error != Console.Error)
        {
            work(new Now(p =>
            {
                if (p.What.Length > 0)
                {
                    error.WriteLine($"{p.Done + 1} of {p.All}, {Left(p)} left: {p.What}");
                }
            }));
            return;
        }
        IAnsiConsole console = AnsiConsole.Create(new() { Out = new AnsiConsoleOutput(Console.Error) });
        console.Progress().Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn()).Start(context =>
        {
            ProgressTask bar = context.AddTask("study");
            work(new Now(p =>
            {
                (bar.MaxValue, bar.Value) = (p.All, p.Done);
                bar.Description = Markup.Escape(p.What.Length == 0 ? "done" : $"{p.What}, {Left(p)} left");
            }));
        });
    }

    // System.Progress reports on other threads, out of order.
    sealed class Now(Action<StudyProgress> report) : IProgress<StudyProgress>
    {
        public void Report(StudyProgress value) => report(value);
    }

    internal static string[] Split(string? text) => text?.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) ?? [];

    internal static IReadOnlyList<StudyModel> Models(IReadOnlyList<string> folders, IReadOnlyList<string> shapes)
    {
        if (folders.Count == 0 && shapes.Count == 0)
        {
            folders = Directory.Exists("weights") ? [.. Directory.GetDirectories("weights").Where(folder => File.Exists(Path.Combine(folder, "model.safetensors"))).Order(StringComparer.Ordinal)] : [];
            if (folders.Count == 0)
            {
                throw new InvalidRequestException("No model was named, and there is no ./weights with models: give model folders or --shape 110M.");
            }
        }
        List<StudyModel> models = [];
        foreach (string folder in folders)
        {
            if (!Directory.Exists(folder))
            {
                throw new InvalidRequestException($"There is no model folder at {folder}.");
            }
            models.Add(new(Path.GetFileName(Path.GetFullPath(folder).TrimEnd(Path.DirectorySeparatorChar)), folder, Random: false));
        }
        foreach (string shape in shapes)
        {
            models.Add(Shape(shape));
        }
        return models;
    }

    static StudyModel Shape(string text)
    {
        ModelShape? known = ModelShape.Named(text);
        if (known is not null)
        {
            return new(known.Name, RandomModels.Folder(known, RandomModels.DefaultCache, Console.Error.WriteLine), Random: true);
        }
        if (!File.Exists(text))
        {
            throw new InvalidRequestException($"--shape is 110M, 1.1B, 7B or a config.json; '{text}' is none of these.");
        }
        // A config of one's own: random weights beside a copy of it.
        byte[] config = File.ReadAllBytes(text);
        string name = "config-" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(config))[..8], folder = Path.Combine(RandomModels.DefaultCache, name);
        if (!File.Exists(Path.Combine(folder, "model.safetensors")))
        {
            Directory.CreateDirectory(folder);
            File.WriteAllBytes(Path.Combine(folder, "config.json"), config);
            ModelConfig read = ModelConfig.Load(folder);
            RandomModel.Write(folder, read, KvCuda.Model.LoadedModel.SharingOf(read, null).Owns, Tensors.DType.BF16, seed: 1);
        }
        return new(name, folder, Random: true);
    }
}
