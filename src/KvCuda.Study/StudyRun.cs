// A study from beginning to end: what will be measured, how long that should take, and all of it, resumable.
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Text;

namespace KvCuda.Study;

/// <summary>How far a study is.</summary>
/// <param name="Done">tasks that are done</param>
/// <param name="All">tasks in all</param>
/// <param name="What">the task that begins now</param>
/// <param name="SecondsLeft">predicted from those done</param>
internal readonly record struct StudyProgress(int Done, int All, string What, double SecondsLeft);

/// <summary>Plans and runs the tasks of a study. A task that was done before (same journal) is not run again.</summary>
internal sealed class StudyRun
{
    readonly StudyOptions options;
    readonly Action<string> say;
    readonly Journal journal;
    readonly List<StudyTask> tasks = [];

    sealed record StudyTask(string Name, int Priority, double Seconds, Func<CancellationToken, IReadOnlyList<Cell>> Run);

    public StudyRun(StudyOptions options, string command, Action<string> say)
    {
        (this.options, this.say) = (options, say);
        if (options.Only.FirstOrDefault(part => !StudyOptions.Parts.Contains(part)) is { } unknown)
        {
            throw new InvalidRequestException($"'{unknown}' is no part of a study; there are {string.Join(", ", StudyOptions.Parts)}.");
        }
        foreach (string format in options.Formats)
        {
            if (!Formats.All.Contains(format))
            {
                throw new InvalidRequestException($"'{format}' is no format of keys and values; there are {string.Join(", ", Formats.All)}.");
            }
        }
        if (options.Out is { } folder)
        {
            Directory.CreateDirectory(folder);
        }
        // A journal goes on only where nothing that a figure depends on has changed.
        string identity = JsonSerializer.Serialize(new
        {
            schema = ResultSet.Version, machine = MachineInfo.Here(options.Threads, options.Device), command,
            models = options.Models.Select(model => new[] { model.Folder, ModelIdentity.OfTokenizer(model.Folder), Stamp(model.Folder) }),
        });
        journal = new(options.Out is null ? null : Path.Combine(options.Out, "journal.txt"), identity);
    }

    static string Stamp(string folder) => string.Join(',', Directory.EnumerateFiles(folder, "*.safetensors").Order(StringComparer.Ordinal)
        .Select(file => $"{new FileInfo(file).Length}"));

    public IReadOnlyList<Cell> Cells => journal.Cells;

    /// <summary>Tasks that were left out because of the time allowed.</summary>
    public IReadOnlyList<string> LeftOut { get; private set; } = [];

    /// <summary>Seconds predicted before the first task.</summary>
    public double PredictedSeconds { get; private set; }

    /// <summary>Lists the tasks, says what they should take, and leaves out what does not fit.</summary>
    public void Plan()
    {
        foreach (StudyModel model in options.Models)
        {
            PlanModel(model);
        }
        double allowed = options.Minutes > 0 ? options.Minutes * 60 : double.PositiveInfinity, total = 0;
        List<string> left = [];
        List<StudyTask> kept = [];
        foreach (StudyTask task in tasks.OrderBy(task => task.Priority))
        {
            bool done = journal.IsDone(task.Name);
            if (!done && total + task.Seconds > allowed)
            {
                left.Add(task.Name);
                continue;
            }
            total += done ? 0 : task.Seconds;
            kept.Add(task);
        }
        LeftOut = left;
        PredictedSeconds = total;
        // What matters most comes first: if the machine is slower than it looked, the rest is left out.
        tasks.Clear();
        tasks.AddRange(kept);
        int again = tasks.Count(task => journal.IsDone(task.Name));
        say(string.Create(CultureInfo.InvariantCulture,
            $"{tasks.Count} tasks{(again > 0 ? $", {again} of them done before" : "")}; predicted time {TimeSpan.FromSeconds(total):h\\:mm\\:ss}."));
        if (left.Count > 0)
        {
            say($"Left out, because {options.Minutes:0.#} minutes would not do (--full, or a larger --minutes): {string.Join("; ", left)}.");
        }
    }

    /// <summary>Share of the machine that other programs had while this run measured; NaN before, and where it cannot be known.</summary>
    public double ForeignShare { get; private set; } = double.NaN;

    /// <summary>Runs what is not done yet.</summary>
    public void Run(IProgress<StudyProgress> progress, CancellationToken cancellation)
    {
        double predicted = 0, took = 0, allowed = options.Minutes > 0 ? options.Minutes * 60 : double.PositiveInfinity;
        List<string> late = [];
        (long busy, long stolen) = Machine.Times();
        long own = Machine.TimesOf(Environment.ProcessId), began = Stopwatch.GetTimestamp();
        for (int i = 0; i < tasks.Count; i++)
        {
            StudyTask task = tasks[i];
            if (journal.IsDone(task.Name))
            {
                continue;
            }
            cancellation.ThrowIfCancellationRequested();
            double factor = predicted > 0 ? took / predicted : 1;
            if (took > 0 && took + (task.Seconds * factor) > allowed)
            {
                late.Add(task.Name);
                continue;
            }
            double rest = tasks.Skip(i).Where(t => !journal.IsDone(t.Name)).Sum(t => t.Seconds);
            progress.Report(new(i, tasks.Count, task.Name, Math.Min(rest * factor, allowed - took)));
            long start = Stopwatch.GetTimestamp();
            journal.Add(task.Name, task.Run(cancellation));
            took += Stopwatch.GetElapsedTime(start).TotalSeconds;
            predicted += task.Seconds;
        }
        progress.Report(new(tasks.Count, tasks.Count, "", 0));
        (long busyAfter, long stolenAfter) = Machine.Times();
        double ticks = Stopwatch.GetElapsedTime(began).TotalSeconds * Machine.TicksPerSecond * Environment.ProcessorCount;
        ForeignShare = busyAfter == 0 || took == 0 ? double.NaN
            : Math.Clamp((busyAfter - busy - (Machine.TimesOf(Environment.ProcessId) - own) + (stolenAfter - stolen)) / ticks, 0, 1);
        if (late.Count > 0)
        {
            say($"Left out, because the machine was slower than predicted and {options.Minutes:0.#} minutes were over: {string.Join("; ", late)}.");
            LeftOut = [.. LeftOut, .. late];
        }
    }

    void PlanModel(StudyModel model)
    {
        IReadOnlyList<StudyMap> maps = StudyMap.All(model.Config, options.Owners, options.Maps, model.Random);
        (double prefillPerToken, double step, double load, string own) = Calibrate(model);
        string[] formats = options.Formats.Count > 0 ? [.. options.Formats] : model.Random ? [own] : [.. new[] { "f32", own }.Distinct()];
        int context = Math.Min(model.Config.MaxPositions, 4096);
        SpeedOptions speed = new(options.Device, options.Threads, Math.Min(512, context / 2), [1, 8], Math.Min(512, context / 2),
            options.Mixes.Count > 0 ? options.Mixes : Mixes(model, context), model.Random ? [0.25, 1] : [0.5, 2], options.Repeats, 64, true);
        if (options.Has("speed"))
        {
            PlanSpeed(model, maps, formats, own, speed, prefillPerToken, step, load);
        }
        if (options.Has("cache"))
        {
            double cost = (options.Repeats + 1) * (options.Cache.Generate * (step + (options.Cache.Total * prefillPerToken)));
            Add(model, "cache on and off", 1, cost, _ => CacheOnOff.Run(model.Name, model.Folder, options.Device, options.Threads,
                options.Cache.Prompt, options.Cache.Generate, options.Repeats));
        }
        if (!model.Random && (options.Has("quality") || options.Has("retrieval") || options.Has("search") || options.Has("choice")))
        {
            PlanQuality(model, maps, formats, own, prefillPerToken, step, load);
        }
    }

    // Of a model of a short context all four mixes; of a long one the one that a machine of two cores gets through.
    static IReadOnlyList<Mix> Mixes(StudyModel model, int context) => context <= 1024 ? Mix.For(context) : [new(512, 512), new(512, 1024)];

    void PlanSpeed(StudyModel model, IReadOnlyList<StudyMap> maps, string[] formats, string own, SpeedOptions speed,
        double prefillPerToken, double step, double load)
    {
        var study = new SpeedStudy(model.Name, model.Folder, speed);
        int bytes = DTypes.Parse(own).Bytes();
        Add(model, "bytes and batches", 0, 0.02 * speed.Mixes.Count * maps.Count * formats.Length, _ =>
        [
            .. from map in maps from format in formats
               from cell in study.Exact(map.Sharing, format, Formats.Layout(model.Config, map.Sharing, format), bytes) select cell,
        ]);
        foreach (StudyMap map in maps)
        {
            bool first = map == maps[0];
            double tokens = speed.PromptTokens, prompts = (speed.Repeats + 1) * tokens * prefillPerToken;
            prompts *= map.Sharing.IsCyclic ? 10 + (1.5 * step / prefillPerToken) : 1;
            double mixes = speed.BudgetShares.Count * speed.Mixes.Count * ((12 * (step + (16 * prefillPerToken))) + (2 * load));
            double whole = first ? speed.Mixes[0].Generate * (step + (8 * prefillPerToken)) : 0;
            Add(model, $"{map.Map} {own} speed", first ? 1 : map.Sharing.IsCyclic ? 5 : 3,
                prompts + mixes + whole + (20 * step) + (4 * load),
                _ => study.Timed(map.Sharing, map.Experiment, own, bytes, speed.WholeMix && first));
        }
    }

    void PlanQuality(StudyModel model, IReadOnlyList<StudyMap> maps, string[] formats, string own, double prefillPerToken, double step, double load)
    {
        var quality = new TextQuality(model.Folder, options.Device, options.Threads);
        Tokenizer? tokenizer = File.Exists(Path.Combine(model.Folder, "tokenizer.json")) ? Tokenizer.Load(model.Folder) : null;
        StudyText[] texts = [.. StudyTexts.For(model, tokenizer, options.Texts, Math.Min(256, model.Config.MaxPositions))
            .Select(text => text.Head(Math.Min(quality.MostPredictions, options.Minutes > 0 ? 4096 : long.MaxValue)))];
        var references = new Dictionary<string, Predictions>();
        Predictions Reference(StudyText text)
        {
            if (!references.TryGetValue(text.Name, out Predictions? found))
            {
                using LoadedModel loaded = quality.Load(null, "f32", text.Windows.Max(w => w.Length));
                references[text.Name] = found = quality.Run(loaded, text, asReference: true);
            }
            return found;
        }
        double Cost(StudyMap map, long predictions, int windows) => load + (map.Sharing.IsCyclic
            ? predictions / (double)Math.Clamp(windows, 1, 12) * step * 1.5 : predictions * prefillPerToken * 1.5);
        foreach (StudyMap map in maps)
        {
            bool first = map == maps[0];
            foreach (string format in formats)
            {
                if (options.Has("quality") && texts.Length > 0)
                {
                    Add(model, $"{map.Map} {format} quality", first ? 1 : 2, texts.Sum(text => Cost(map, text.Predictions, text.Windows.Count)), _ =>
                    {
                        List<Cell> cells = [];
                        foreach (StudyText text in texts)
                        {
                            Predictions reference = Reference(text);
                            if (first && format == "f32")
                            {
                                cells.AddRange(TextQuality.Cells(model.Name, map.Map, format, text, reference, reference));
                                continue;
                            }
                            using LoadedModel loaded = quality.Load(map.Experiment, format, text.Windows.Max(w => w.Length));
                            cells.AddRange(TextQuality.Cells(model.Name, map.Map, format, text, quality.Run(loaded, text, asReference: false), reference));
                        }
                        return cells;
                    });
                }
            }
            if (options.Has("retrieval"))
            {
                int[] lengths = [.. Enumerable.Range(5, 8).Select(power => 1 << power).Where(n => n <= model.Config.MaxPositions)];
                lengths = options.Minutes > 0 ? [.. lengths.Take(4)] : lengths;
                const int items = 8;
                double cost = Retrieval.Tasks.Count * lengths.Sum(length => Cost(map, length * (long)items, items));
                int[] filler = [.. texts.SelectMany(text => text.Windows.SelectMany(w => w))];
                Add(model, $"{map.Map} {own} retrieval", first ? 2 : 4, cost, _ =>
                {
                    using LoadedModel loaded = quality.Load(map.Experiment, own, lengths.Max());
                    return Retrieval.Cells(model.Name, map.Map, own, loaded, lengths, items, filler, options.Seed);
                });
            }
            if (options.Questions is { } file && options.Has("choice") && tokenizer is not null)
            {
                IReadOnlyList<MultipleChoice.Question> questions = MultipleChoice.Load(file);
                Add(model, $"{map.Map} {own} choice", 2, Cost(map, questions.Sum(q => q.Choices.Length * 64L), 12), _ =>
                {
                    (bool, bool)[]? before = first ? null : choices.GetValueOrDefault(model.Name);
                    using LoadedModel loaded = quality.Load(map.Experiment, own, model.Config.MaxPositions - 1, sequences: 4);
                    (bool, bool)[] scores = MultipleChoice.Score(loaded, tokenizer, questions);
                    choices[model.Name] = first ? scores : choices.GetValueOrDefault(model.Name, scores);
                    return MultipleChoice.Cells(model.Name, map.Map, own, Path.GetFileName(file), scores, before);
                });
            }
        }
        if (options.Has("search") && maps[0].Sharing.IsStandard && texts.Length > 0)
        {
            int owners = options.SearchOwners > 0 ? options.SearchOwners : Math.Max(1, model.Config.Layers / 4);
            StudyText some = texts[0].Head(options.Minutes > 0 ? 256 : 4096);
            double cost = MapSearch.Runs(model.Config.Layers, owners) * (load + (some.Predictions * prefillPerToken * 1.5));
            Add(model, "search", 6, cost, cancellation =>
            {
                Reference(texts[0]);
                var search = new MapSearch(model.Folder, quality, some, "f32");
                List<Cell> cells = [.. search.Run(owners, say, cancellation).Select(found => new Cell(model.Name, found.Map, "f32", "search_kld",
                    $"owners={found.Map.Split('_').Distinct().Count()}", "", found.Distance)
                    { N = some.Predictions, Better = "lower", Note = $"greedy, on {some.Predictions} predictions of {some.Name}" })];
                // The named ones beside it, on the same tokens.
                cells.AddRange(maps.Skip(1).Where(map => !map.Sharing.IsCyclic && map.Sharing.Owns(0)).Select(map => new Cell(model.Name, map.Map, "f32",
                    "named_kld", $"owners={map.Sharing.Owners.Count}", "", search.Distance(map.Map)) { N = some.Predictions, Better = "lower" }));
                return cells;
            });
        }
    }

    readonly Dictionary<string, (bool, bool)[]> choices = [];

    void Add(StudyModel model, string what, int priority, double seconds, Func<CancellationToken, IReadOnlyList<Cell>> run) =>
        tasks.Add(new($"{model.Name}: {what}", priority, seconds, run));

    // A prompt of 64 tokens, three steps, and the time to load: what predicted times are made of.
    (double PrefillPerToken, double Step, double Load, string Own) Calibrate(StudyModel model)
    {
        long start = Stopwatch.GetTimestamp();
        int tokens = Math.Min(64, model.Config.MaxPositions - 8);
        using LoadedModel loaded = LoadedModel.Load(model.Folder, new()
        {
            Device = options.Device, Threads = options.Threads, NumericsClass = Numerics.Fast, MaxSequences = 1, MaxStepTokens = tokens, MaxContext = tokens + 8,
        });
        double load = Stopwatch.GetElapsedTime(start).TotalSeconds;
        using var runner = new StepRunner(loaded);
        int[] ids = Prompts.Random(1, tokens, model.Config.Vocabulary), last = new int[1];
        double prefill = 0, step = 0;
        for (int i = 0; i < 2; i++)
        {
            KvSequence sequence = loaded.Store.Open();
            start = Stopwatch.GetTimestamp();
            last[0] = runner.Prompt(sequence, ids, PrefillMode.Converged);
            prefill = Stopwatch.GetElapsedTime(start).TotalSeconds / tokens;
            start = Stopwatch.GetTimestamp();
            for (int n = 0; n < 3; n++)
            {
                runner.Decode([sequence], last);
            }
            step = Stopwatch.GetElapsedTime(start).TotalSeconds / 3;
            loaded.Store.Close(sequence);
        }
        // The first load also compiles the program.
        return (loaded.Sharing.IsCyclic ? Math.Min(prefill, step / 4) : prefill, step, Math.Min(load, 0.3), loaded.KvType.Name());
    }
}
