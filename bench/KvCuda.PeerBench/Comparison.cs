using System.Globalization;
using KvCuda.Tensors;

namespace KvCuda.PeerBench;

/// <summary>How much is measured.</summary>
internal sealed record Plan(
    int Rounds, int Prompt, int Steps, int LongContext, int BatchSequences, int BatchPrompt, IReadOnlyList<int> SharingContexts,
    IReadOnlySet<string> Parts)
{
    public static readonly string[] AllParts = ["generate", "long", "batch", "load", "sharing"];

    public bool Has(string part) => Parts.Contains(part);
}

/// <summary>
/// One model through one plan. Every contender is a process of its own that keeps its model; they take turns, in another order every
/// round, and never run at the same time.
/// </summary>
/// <param name="model">which</param>
/// <param name="plan">how much</param>
/// <param name="peerFolder">llama.cpp's shared objects; null: without it</param>
/// <param name="threads">of each contender</param>
/// <param name="say">told what goes on, every number included</param>
/// <param name="keep">called when there is more to be kept</param>
internal sealed class Comparison(BenchModel model, Plan plan, string? peerFolder, int threads, Action<string> say, Action keep)
{
    public const string Fast = "KvCuda", Consistent = "KvCuda consistent", Int8 = "KvCuda int8", Peer = "llama.cpp", PeerQuantised = "llama.cpp q8_0";
    public const string Prefill = "prefill", Decode = "decode", Long = "decode long", Batch = "decode batch", First = "first token",
        Opened = "opened", Again = "the same prompt again", Peak = "peak memory", Read1 = "read 1", ReadAll = "read all", Flops1 = "flops 1", FlopsAll = "flops all",
        Tiles1 = "tile flops 1", TilesAll = "tile flops all";

    public Samples Samples { get; } = new()
    {
        Added = (what, who, value) => say($"{model.Name}: {what}{(who.Length > 0 ? ", " : "")}{who}: {Figure(what, value)}"),
    };

    // As it comes, for whoever watches: units as in the page.
    static string Figure(string what, double value)
    {
        (double unit, string name) = what switch
        {
            First or Opened or Again => (1, "s"),
            Peak => (1e6, "MB"),
            Read1 or ReadAll => (1e9, "GB/s"),
            Flops1 or FlopsAll or Tiles1 or TilesAll => (1e9, "GFLOP/s"),
            _ => (1, "tokens/s"),
        };
        return string.Create(CultureInfo.InvariantCulture, $"{value / unit:G4} {name}");
    }

    public BenchModel Model => model;

    public Plan Plan => plan;

    /// <summary>The contenders' own descriptions.</summary>
    public Dictionary<string, string> Descriptions { get; } = [];

    /// <summary>Largest difference between the engines' logits after a short prompt, the spread of ours, and whether the likeliest token is the same.</summary>
    public (double Difference, double Deviation, bool SameToken)? Agreement { get; private set; }

    /// <summary>Bytes allocated per decode step: of the step itself, and with the stream to the caller.</summary>
    public (double Step, double Streamed)? Allocated { get; private set; }

    /// <summary>Per map: bytes per token.</summary>
    public List<(string Map, double BytesPerToken)> SharingMaps { get; } = [];

    /// <summary>Share of the processor time, while a contender was measured, that others took or the host stole; per measurement.</summary>
    public List<double> Foreign { get; } = [];

    int Context => Math.Min(model.Config.MaxPositions, Math.Max(plan.LongContext, 1024) + 256);

    /// <summary>Tokens of a prompt: half of a short context at most.</summary>
    public int PromptTokens => Math.Min(plan.Prompt, model.Config.MaxPositions / 2);

    /// <summary>Tokens before the steps of a long sequence.</summary>
    public int LongTokens => Math.Min(plan.LongContext, model.Config.MaxPositions - 256);

    // A context of less than this has no long sequences.
    bool HasLong => plan.Has("long") && LongTokens >= 1024;

    IReadOnlyList<(string Name, ChildSetup Setup)> Contenders()
    {
        var list = new List<(string, ChildSetup)>
        {
            (Fast, new(model.Folder, null, threads, Context)),
            (Consistent, new(model.Folder, null, threads, Context, "consistent")),
            (Int8, new(model.Folder, null, threads, Context, Weights: "int8")),
        };
        if (peerFolder is not null && model.Gguf is var (stored, quantised))
        {
            list.Add((Peer, new(stored, peerFolder, threads, 1024)));
            list.Add((PeerQuantised, new(quantised, peerFolder, threads, 1024)));
        }
        return list;
    }

    public void Run()
    {
        IReadOnlyList<(string Name, ChildSetup Setup)> contenders = Contenders();
        if (plan.Has("generate") || HasLong || plan.Has("batch"))
        {
            Dictionary<string, ChildProcess> children = contenders.ToDictionary(c => c.Name, c => new ChildProcess(c.Setup));
            try
            {
                WarmUp(contenders, children);
                for (int round = 0; round < plan.Rounds; round++)
                {
                    say($"{model.Name}: round {round + 1} of {plan.Rounds}");
                    Yardstick();
                    for (int i = 0; i < contenders.Count; i++)
                    {
                        string name = contenders[(i + round) % contenders.Count].Name;
                        Round(name, children[name], round);
                    }
                    keep();
                }
                if (children[Fast].Ask(new("allocations")).Numbers is [double step, double streamed])
                {
                    Allocated = (step, streamed);
                }
            }
            finally
            {
                foreach (ChildProcess child in children.Values)
                {
                    child.Dispose();
                }
            }
        }
        if (plan.Has("load"))
        {
            Loads(contenders.Where(c => c.Name != Consistent));
        }
        if (plan.Has("sharing") && !model.Shares && model.Config.Layers >= 4)
        {
            Sharing();
        }
        keep();
    }

    void WarmUp(IReadOnlyList<(string Name, ChildSetup Setup)> contenders, Dictionary<string, ChildProcess> children)
    {
        int[] prompt = Prompts.Random(0, PromptTokens, model.Config.Vocabulary);
        var logits = new Dictionary<string, double[]>();
        foreach ((string name, _) in contenders)
        {
            say($"{model.Name}: warming up {name}");
            ChildProcess child = children[name];
            Descriptions[name] = child.Ask(new("describe")).Text!;
            logits[name] = child.Ask(new("logits", Prompt: prompt[..16])).Numbers;
            // Twice, where there is time: .NET compiles a method anew once it is known to be hot.
            for (int i = 0; i < (plan.Rounds > 3 && name is Fast or Consistent or Int8 ? 2 : 1); i++)
            {
                child.Ask(new("generate", A: Math.Min(40, plan.Steps), Prompt: prompt));
            }
            if (HasLong && name != Consistent)
            {
                child.Ask(new("at", A: LongTokens, B: 8));
            }
        }
        if (logits.TryGetValue(Peer, out double[]? theirs))
        {
            double[] ours = logits[Fast];
            double mean = ours.Average();
            Agreement = (ours.Zip(theirs, (a, b) => Math.Abs(a - b)).Max(), Math.Sqrt(ours.Average(a => (a - mean) * (a - mean))),
                Array.IndexOf(ours, ours.Max()) == Array.IndexOf(theirs, theirs.Max()));
        }
    }

    void Round(string name, ChildProcess child, int round)
    {
        if (plan.Has("generate"))
        {
            int[] prompt = Prompts.Random(round + 1, PromptTokens, model.Config.Vocabulary);
            double[] seconds = Measure(child, new("generate", A: plan.Steps, Prompt: prompt));
            Samples.Add(Prefill, name, prompt.Length / seconds[0]);
            Samples.Add(Decode, name, plan.Steps / seconds[1]);
        }
        if (name == Consistent)
        {
            return; // its decode steps are those of the other class
        }
        if (HasLong)
        {
            Samples.Add(Long, name, plan.Steps / Measure(child, new("at", A: LongTokens, B: plan.Steps))[0]);
        }
        if (plan.Has("batch"))
        {
            int steps = Math.Min(plan.Steps, 128);
            double seconds = Measure(child, new("together", A: plan.BatchSequences, B: plan.BatchPrompt, C: steps))[0];
            Samples.Add(Batch, name, plan.BatchSequences * steps / seconds);
        }
    }

    // Asks, and notes how much of the machine others had meanwhile.
    double[] Measure(ChildProcess child, Request request)
    {
        Thread.Sleep(20); // whoever ran before has stopped spinning
        (long busy, long stolen) = Machine.Times();
        long own = Machine.TimesOf(child.Id);
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        double[] numbers = child.Ask(request).Numbers;
        double seconds = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;
        (long busyAfter, long stolenAfter) = Machine.Times();
        double foreign = busyAfter - busy - (Machine.TimesOf(child.Id) - own) + (stolenAfter - stolen);
        Foreign.Add(Math.Max(0, foreign - 2) / Machine.TicksPerSecond / seconds / Environment.ProcessorCount);
        return numbers;
    }

    /// <summary>What is read to see how fast memory is: what a decode step reads of the weights, but no less than any cache would hold for a while.</summary>
    public double YardstickBytes => Math.Clamp(model.StepBytes(model.Type.Bytes()), 200e6, 2e9);

    // What memory of the size that a decode step reads, and arithmetic, give at best.
    void Yardstick()
    {
        long bytes = (long)YardstickBytes;
        Samples.Add(Read1, "", Yardsticks.ReadBytesPerSecond(bytes, 1));
        Samples.Add(ReadAll, "", Yardsticks.ReadBytesPerSecond(bytes, threads));
        Samples.Add(Flops1, "", Yardsticks.FlopsPerSecond(1));
        Samples.Add(FlopsAll, "", Yardsticks.FlopsPerSecond(threads));
        if (Yardsticks.TileFlopsPerSecond(1) is > 0 and double tiles)
        {
            Samples.Add(Tiles1, "", tiles);
            Samples.Add(TilesAll, "", Yardsticks.TileFlopsPerSecond(threads));
        }
    }

    /// <summary>Tokens of the context with which memory is measured, and of the prompt and the steps that then run in it.</summary>
    public int LoadContext => Math.Min(1024, model.Config.MaxPositions);

    public int LoadTokens => PromptTokens + 32;

    // A fresh process each: to the first token of a short prompt, then a prompt and some steps, then its peak.
    void Loads(IEnumerable<(string Name, ChildSetup Setup)> contenders)
    {
        int[] prompt = Prompts.Random(3, PromptTokens, model.Config.Vocabulary);
        (string Name, ChildSetup Setup)[] all = [.. contenders];
        for (int round = 0; round < plan.Rounds; round++)
        {
            say($"{model.Name}: load to first token, round {round + 1} of {plan.Rounds}");
            foreach ((string name, ChildSetup setup) in all)
            {
                using var child = new ChildProcess(setup with { Context = LoadContext });
                child.Ask(new("peak")); // the run time itself is up
                double[] seconds = Measure(child, new("first", Prompt: prompt[..16]));
                Samples.Add(First, name, seconds[0]);
                Samples.Add(Opened, name, seconds[1]);
                Samples.Add(Again, name, seconds[2]);
                child.Ask(new("generate", A: 32, Prompt: prompt));
                Samples.Add(Peak, name, child.Ask(new("peak")).Numbers[0]);
            }
            keep();
        }
    }

    // The same weights with all, half and a quarter of the layers' keys and values.
    void Sharing()
    {
        int layers = model.Config.Layers;
        var children = new List<(string Map, ChildProcess Child)>();
        int longest = plan.SharingContexts.Where(c => c + 256 <= model.Config.MaxPositions).DefaultIfEmpty(0).Max();
        try
        {
            foreach (string map in new[] { "standard", $"lasagna-bottom:{layers / 2}", $"lasagna-bottom:{layers / 4}" })
            {
                var child = new ChildProcess(new(model.Folder, null, threads, longest + 256, "fast", map));
                children.Add((map, child));
                SharingMaps.Add((map, child.Ask(new("kv")).Numbers[0]));
            }
            foreach (int context in plan.SharingContexts.Where(c => c <= longest))
            {
                say($"{model.Name}: fewer layers with keys and values, context {context}");
                foreach ((_, ChildProcess child) in children)
                {
                    child.Ask(new("at", A: context, B: 2));
                }
                for (int round = 0; round < plan.Rounds; round++)
                {
                    for (int i = 0; i < children.Count; i++)
                    {
                        (string map, ChildProcess child) = children[(i + round) % children.Count];
                        int steps = Math.Min(plan.Steps, 32);
                        Samples.Add($"shared {context}", map, steps / Measure(child, new("at", A: context, B: steps))[0]);
                    }
                    keep();
                }
            }
        }
        finally
        {
            foreach ((_, ChildProcess child) in children)
            {
                child.Dispose();
            }
        }
    }
}
