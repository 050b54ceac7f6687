// The benchmarks of `kvcuda bench` under BenchmarkDotNet: steps, prompts, products, attention, sampling, bookkeeping, tokens.
using BenchmarkDotNet.Attributes;

namespace KvCuda.Bench;

/// <summary>One row per benchmark of <see cref="BenchmarkSet"/>, over weights/demo.</summary>
[MemoryDiagnoser]
public class HostBench
{
    static readonly Lazy<BenchmarkSet> set = new(() => new(Path.Combine(Repository.Root, "weights", "demo"), threads: 0));

    Benchmark benchmark = null!;

    /// <summary>Which.</summary>
    [ParamsSource(nameof(Names))]
    public string Name { get; set; } = "";

    /// <summary>All of the set.</summary>
    public static IEnumerable<string> Names => set.Value.All.Select(one => one.Name);

    [GlobalSetup]
    public void Setup()
    {
        benchmark = set.Value.All.Single(one => one.Name == Name);
        // Until every buffer and every table has its final size.
        for (int i = 0; i < (Name.StartsWith("store", StringComparison.Ordinal) ? 1200 : 4); i++)
        {
            benchmark.Run();
        }
    }

    [Benchmark]
    public void Run() => benchmark.Run();
}

/// <summary>Where the checkout is.</summary>
static class Repository
{
    public static string Root { get; } = Find();

    static string Find()
    {
        string? at = AppContext.BaseDirectory;
        while (at is not null && !File.Exists(Path.Combine(at, "KvCuda.sln")))
        {
            at = Path.GetDirectoryName(at);
        }
        return at ?? throw new InvalidOperationException("The bench runs inside a checkout of the repository, and there is none above it.");
    }
}
