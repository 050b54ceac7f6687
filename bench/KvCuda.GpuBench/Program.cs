using System.Globalization;
using KvCuda;
using KvCuda.Backends;
using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.GpuBench;
using KvCuda.Interop;
using KvCuda.Tensors;

// KvCuda.GpuBench [--device cuda|cuda:N|cuda-host:plain] [--out FOLDER] [--small] [--models 110M,1.1B,7B]
// Measures yardsticks, verbs and whole models on a device; writes <GPU>.json and <GPU>.md. --small only shows that it works.
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
string device = Option("--device") ?? "cuda", folder = Option("--out") ?? "bench/results";
bool small = args.Contains("--small");
string[] names = (Option("--models") ?? (small ? "tiny" : "110M,1.1B,7B")).Split(',');
try
{
    return Run();
}
catch (DeviceException e)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}

string? Option(string name) => Array.IndexOf(args, name) is >= 0 and var at && at + 1 < args.Length ? args[at + 1] : null;

int Run()
{
    ModelShape[] shapes = [.. ModelShape.All.Append(ModelShape.Tiny).Where(s => names.Contains(s.Name))];
    CudaLibraries libraries = device.StartsWith("cuda-host", StringComparison.Ordinal)
        ? CudaLibraries.OfHostRunner(plain: device.EndsWith(":plain", StringComparison.Ordinal)) : CudaLibraries.OfDevice();
    var verbs = new List<(string, VerbResult)>();
    var models = new List<EndToEndResult>();
    Yardsticks yardsticks;
    string gpu;
    using (var backend = CudaBackend.Open(device, Numerics.Fast))
    {
        GpuContext context = backend.Stream.Context;
        gpu = context.Device.Name;
        Console.WriteLine($"{backend.Name}: yardsticks");
        yardsticks = Yardsticks.Measure(libraries, context, backend.Stream, small ? 1 << 18 : 1L << 30, cube: small ? 64 : 8192);
        foreach (ModelShape shape in shapes)
        {
            using var bench = new VerbBench(backend, shape, DType.BF16, pageTokens: 64, small);
            foreach (VerbResult result in bench.Run())
            {
                verbs.Add((shape.Name, result));
                Console.WriteLine($"{shape.Name,-5} {result.Verb,-11} {result.Shape,-44} {result.Microseconds,10:F1} us");
            }
        }
    }
    foreach (ModelShape shape in shapes)
    {
        foreach (EndToEndResult result in EndToEnd.Run(device, shape, DType.BF16, small ? 12 : 512, small ? [1, 2] : [1, 8, 32], small ? 3 : 64))
        {
            models.Add(result);
            Console.WriteLine($"{shape.Name,-5} {result.What,-56} {result.TokensPerSecond,10:F1} tokens/s");
        }
    }
    int version = libraries.Driver.Version();
    var report = new Report(gpu, $"driver CUDA {version / 1000}.{version % 1000 / 10}", $"NVRTC {libraries.Compiler.Version}",
        DateTime.UtcNow.ToString("yyyy-MM-dd"), yardsticks, verbs, models);
    Directory.CreateDirectory(folder);
    string file = Path.Combine(folder, string.Concat(gpu.Select(c => char.IsLetterOrDigit(c) ? c : '-')));
    File.WriteAllText(file + ".json", report.Json());
    File.WriteAllText(file + ".md", report.Markdown());
    Console.WriteLine($"{file}.md");
    return 0;
}
