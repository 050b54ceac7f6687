using System.CommandLine;
using System.Globalization;
using KvCuda;
using KvCuda.PeerBench;

// KvCuda's CPU backend beside llama.cpp's, on the same weights, in one run: `./build.sh bench peer --help`.
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is ["--child"])
{
    return Child.Serve();
}

Option<string> models = new("--models") { Description = $"Shapes with random bf16 weights: {string.Join(", ", BenchModel.Names)}.", DefaultValueFactory = _ => "110M,1.1B" };
Option<string?> folder = new("--model") { Description = "A Hugging Face folder instead of a shape: for llama.cpp it is written as GGUF, or refused if it is not Llama-like." };
Option<int> threads = new("--threads") { Description = "Threads of each engine; 0 is one per core." };
Option<int> rounds = new("--rounds") { Description = "Turns that every contender takes (default 5; 3 with --quick)." };
Option<string> parts = new("--parts") { Description = $"What is measured: {string.Join(", ", Plan.AllParts)}.", DefaultValueFactory = _ => string.Join(',', Plan.AllParts) };
Option<bool> quick = new("--quick")
{
    Description = "Minutes instead of half an hour: 3 rounds instead of 5, 16 steps instead of 96, one warm-up instead of two (decode figures then "
        + "still hold some of .NET's compiling), sharing at one context instead of three, and only 110M unless a model is named.",
};
Option<bool> write = new("--write") { Description = "Write the results to --out, named after the processor: after every round, so that what was measured is kept." };
Option<string> target = new("--out") { Description = "Where --write puts them.", DefaultValueFactory = _ => "bench/results" };
Option<string> cache = new("--cache") { Description = "Where weights are made and kept (about 10 GB for both shapes).", DefaultValueFactory = _ => "artifacts/peer-bench" };
Option<string> peer = new("--peer") { Description = "llama.cpp's shared objects.", DefaultValueFactory = _ => ".tools/peer/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64" };
Option<bool> alone = new("--alone") { Description = "Measure KvCuda only." };
var root = new RootCommand("KvCuda's CPU backend beside llama.cpp's, on the same weights, in one run.")
    { models, folder, threads, rounds, parts, quick, write, target, cache, peer, alone };
ParseResult parsed = root.Parse(args);
root.SetAction(result =>
{
    try
    {
        return Run(result);
    }
    catch (Exception e) when (e is KvCudaException or IOException or UnauthorizedAccessException)
    {
        Console.Error.WriteLine($"bench peer: {e.Message}");
        return 1;
    }
});
return parsed.Invoke();

int Run(ParseResult options)
{
    static void Say(string line) => Console.Error.WriteLine(line);
    bool isQuick = options.GetValue(quick);
    string[] names = options.GetResult(models) is { Implicit: true } && isQuick ? ["110M"] : List(options.GetValue(models)!, BenchModel.Names, "--models");
    string[] asked = List(options.GetValue(parts)!, Plan.AllParts, "--parts");
    int count = options.GetValue(threads), turns = options.GetValue(rounds);
    if (count < 0 || turns < 0)
    {
        throw new InvalidRequestException("--threads and --rounds must not be negative.");
    }
    count = count == 0 ? Environment.ProcessorCount : count;
    string? library = options.GetValue(alone) ? null : Path.GetFullPath(options.GetValue(peer)!);
    string? noPeer = options.GetValue(alone) ? "--alone was given" : null;
    if (library is not null && !Directory.Exists(library))
    {
        string missing = ".tools/peer/missing";
        (library, noPeer) = (null, File.Exists(missing) ? File.ReadAllText(missing).Trim() : $"there is no llama.cpp in {library}");
        Say($"No peer: {noPeer}.");
    }
    bool isAlone = library is null;
    string kept = options.GetValue(cache)!;
    BenchModel[] all = options.GetValue(folder) is { } path
        ? [BenchModel.Existing(path, kept, isAlone, Say)]
        : [.. names.Select(name => BenchModel.Random(name, kept, isAlone, Say))];
    var plan = new Plan(
        Rounds: turns > 0 ? turns : isQuick ? 3 : 5, Prompt: 512, Steps: isQuick ? 16 : 96, LongContext: 4096, BatchSequences: 8, BatchPrompt: 64,
        SharingContexts: isQuick ? [4096] : [4096, 16384, 32768], Parts: asked.ToHashSet());
    List<Comparison> comparisons = [];
    var report = new PeerReport(comparisons, count, string.Join(' ', ["./build.sh bench peer", .. args]), noPeer);
    string name = $"{Machine.Processor} {Machine.Stepping} {count} threads";
    string file = Path.Combine(options.GetValue(target)!, string.Concat(name.Select(c => char.IsLetterOrDigit(c) ? c : '-')));
    void Keep()
    {
        if (options.GetValue(write))
        {
            Directory.CreateDirectory(options.GetValue(target)!);
            File.WriteAllText(file + ".md", report.Markdown());
            File.WriteAllText(file + ".json", report.Json());
        }
    }

    foreach (BenchModel model in all)
    {
        var comparison = new Comparison(model, plan, library, count, Say, Keep);
        comparisons.Add(comparison);
        comparison.Run();
    }
    Console.Out.Write(report.Markdown());
    if (options.GetValue(write))
    {
        Say($"{file}.md and .json");
    }
    return 0;
}

static string[] List(string text, IEnumerable<string> known, string option)
{
    string[] items = text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    string? unknown = items.FirstOrDefault(item => !known.Contains(item));
    return unknown is null && items.Length > 0 ? items
        : throw new InvalidRequestException($"{option} is '{text}'; it is a list of {string.Join(", ", known)}.");
}
