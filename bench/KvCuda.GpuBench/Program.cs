using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using KvCuda;
using KvCuda.Gpu;
using KvCuda.GpuBench;
using KvCuda.Interop;

// Measures a device section by section and keeps the results: BenchOptions.Usage. bench/gpu.sh runs everything in order.
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
try
{
    BenchOptions options = BenchOptions.Parse(args);
    if (options.Command == "--list")
    {
        foreach (Section section in Section.All)
        {
            Console.WriteLine($"{section.Name,-12} {section.Title}");
        }
        return 0;
    }
    CudaLibraries libraries = options.Device.StartsWith("cuda-host", StringComparison.Ordinal)
        ? CudaLibraries.OfHostRunner(plain: options.Device.EndsWith(":plain", StringComparison.Ordinal)) : CudaLibraries.OfDevice();
    int ordinal = options.Device.StartsWith("cuda:", StringComparison.Ordinal) ? int.Parse(options.Device.AsSpan(5), CultureInfo.InvariantCulture) : 0;
    GpuDevice device = GpuDevice.Open(libraries.Driver, ordinal);
    ResultFile file = ResultFile.Open(options.Out, device.Name);
    return options.Command switch
    {
        "--begin" => Begin(options, libraries, device, file),
        "--only" => Only(options, libraries, file),
        "--merge" => Merge(Find(options.Arguments[0]), options.Arguments[1], file),
        "--state" => State(Find(options.Arguments[0]), options.Arguments[1], file),
        "--done" => (string?)file.Sections[Find(options.Arguments[0]).Name]?["state"] == "done" ? 0 : 1,
        _ => End(file),
    };
}
catch (KvCudaException e)
{
    Console.Error.WriteLine(e.Message);
    return 2;
}

static Section Find(string name) => Section.All.FirstOrDefault(s => s.Name == name)
    ?? throw new InvalidRequestException($"There is no section '{name}'; there are {string.Join(", ", Section.All.Select(s => s.Name))}.");

static int Begin(BenchOptions options, CudaLibraries libraries, GpuDevice device, ResultFile file)
{
    int version = libraries.Driver.Version();
    var about = new JsonObject
    {
        ["device"] = device.Name,
        ["multiprocessors"] = device.Multiprocessors,
        ["memory"] = $"{device.MemoryBytes >> 20} MiB",
        ["driver API"] = $"CUDA {version / 1000}.{version % 1000 / 10}",
        ["compiler"] = $"NVRTC {libraries.Compiler.Version}",
        // A test looks for it: which text of the only PTX the tests of this run have certified.
        ["ptx"] = PtxText.Hash,
    };
    options.Notes.ForEach(note => about[note.Key] = note.Text);
    if (options.Tiny)
    {
        about["sizes"] = "tiny: shows that the bench works, measures nothing";
    }
    file.Begin(about);
    Console.WriteLine($"{device}: {file.MarkdownPath}");
    return 0;
}

static int Only(BenchOptions options, CudaLibraries libraries, ResultFile file)
{
    var bench = new Bench(options, libraries, file);
    bool all = true;
    foreach (Section section in options.Arguments.Select(Find))
    {
        Console.WriteLine(section.Title);
        all &= section.Run is null ? throw new InvalidRequestException($"'{section.Name}' is measured by bench/gpu.sh, not here.") : bench.Run(section);
    }
    return all ? 0 : 1;
}

// Lines that other programs wrote; a line that is no JSON object is theirs to print, not ours to keep.
static int Merge(Section section, string path, ResultFile file)
{
    JsonObject entry = file.Restart(section.Name);
    var figures = new List<JsonObject>();
    string state = "done";
    foreach (string line in File.ReadLines(path).Where(l => l.StartsWith('{')))
    {
        try
        {
            JsonObject json = JsonNode.Parse(line)!.AsObject();
            if (json["state"] is { } said)
            {
                state = said.GetValue<string>();
            }
            else if (json["key"] is not null && json["value"] is not null)
            {
                figures.Add(json);
            }
        }
        catch (JsonException)
        {
            // A program that was killed leaves half a line.
        }
    }
    foreach (JsonObject figure in section.Name == "peers" ? Peers.Compare(figures, file) : figures)
    {
        entry["figures"]!.AsArray().Add((JsonNode)figure);
        Console.WriteLine($"  {(string?)figure["what"],-58} {Markdown.Number(figure["value"]!.GetValue<double>()),10} {figure["unit"]} {figure["verdict"]}");
    }
    entry["state"] = state;
    file.Save();
    return 0;
}

static int State(Section section, string text, ResultFile file)
{
    if (file.Sections[section.Name] is not JsonObject entry)
    {
        entry = file.Restart(section.Name);
    }
    entry["state"] = text;
    file.Save();
    return 0;
}

static int End(ResultFile file)
{
    string[] right = ["tests/", "sanitizer/", "soak/"], broken = ["failed", "stopped", "begun", "no test ran"];
    file.Save();
    JsonObject[] figures = [.. file.Sections.SelectMany(s => s.Value!["figures"]!.AsArray()).Select(f => f!.AsObject())];
    int Count(string verdict) => figures.Count(f => (string?)f["verdict"] == verdict);
    foreach (JsonObject missed in figures.Where(f => (string?)f["verdict"] == "missed"))
    {
        double value = (missed["share"] ?? missed["value"])!.GetValue<double>();
        Console.WriteLine($"missed: {missed["what"]}: {value:F2} {missed["of"]}, aim {missed["credible"]} / {missed["ambitious"]}");
    }
    int undone = file.Sections.Count(s => (string?)s.Value!["state"] != "done");
    foreach ((string name, JsonNode? entry) in file.Sections.Where(s => (string?)s.Value!["state"] != "done"))
    {
        Console.WriteLine($"{name}: {entry!["state"]}");
    }
    Console.WriteLine($"{file.MarkdownPath}: {figures.Length} figures in {file.Sections.Count} sections, {undone} of them not complete; targets: "
        + $"{Count("reached")} reached, {Count("ambitious")} ambitious, {Count("credible")} credible, {Count("missed")} missed, {Count("not judged")} not judged");
    // What this machine lacks (a peer, compute-sanitizer) and what is too slow stands in the results; wrong is what is not right.
    bool wrong = figures.Any(f => (string?)f["verdict"] == "missed" && right.Any(part => ((string)f["key"]!).StartsWith(part, StringComparison.Ordinal)))
        || file.Sections.Any(s => broken.Any(how => ((string?)s.Value!["state"])?.StartsWith(how, StringComparison.Ordinal) == true));
    return wrong ? 1 : 0;
}
