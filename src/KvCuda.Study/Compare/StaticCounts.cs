// What can be counted and not only timed: verbs per step, bytes moved, bytes allocated, and what kernels cost.
using KvCuda.Interop;
using KvCuda.Model;

namespace KvCuda.Study;

/// <summary>Counts of a build that do not depend on the machine's mood: they gate everywhere.</summary>
internal static class StaticCounts
{
    /// <summary>All counts, by name.</summary>
    public static SortedDictionary<string, double> Of(BenchmarkSet set)
    {
        var counts = new SortedDictionary<string, double>(StringComparer.Ordinal);
        foreach ((string verb, long count) in set.VerbsPerStep())
        {
            counts[$"verbs per decode step/{verb}"] = count;
        }
        counts["bytes read per decode step/weights"] = set.Bytes.Weights;
        counts["bytes kept per token/keys and values"] = set.Bytes.KvPerToken;
        foreach (Benchmark benchmark in set.All)
        {
            benchmark.Sample(); // compiled, and every buffer grown
            // Counted to 16 bytes: a run time that compiles in the background allocates now and then.
            counts[$"bytes allocated per operation/{benchmark.Name}"] = Math.Round(benchmark.Allocated() / 16) * 16;
        }
        return counts;
    }

    /// <summary>
    /// Registers, spills and shared memory of the catalogue's kernels, SASS where nvdisasm is found beside NVRTC, and launches per decode
    /// step on the host runner. Takes minutes the first time.
    /// </summary>
    /// <param name="filter">kernels whose name contains this; null: all</param>
    /// <param name="model">the model whose step is counted</param>
    /// <exception cref="DeviceException">There is no NVRTC.</exception>
    public static SortedDictionary<string, double> OfKernels(string? filter, string model)
    {
        var counts = new SortedDictionary<string, double>(StringComparer.Ordinal);
        NativeProbe probe = NativeProbe.Nvrtc(0);
        if (probe.Path is null)
        {
            throw probe.NotFound("tests/fetch-nvrtc.sh fetches it into .tools/nvrtc; KVCUDA_NVRTC names another one.");
        }
        foreach (KernelCount kernel in KernelCounts.Of(new Nvrtc(probe.Handle, probe.Path), filter))
        {
            counts[$"registers/{kernel.Name}"] = kernel.Usage.Registers;
            counts[$"spilled bytes/{kernel.Name}"] = kernel.Usage.SpillBytes;
            counts[$"shared bytes/{kernel.Name}"] = kernel.Usage.SharedBytes;
            foreach ((string what, int count) in kernel.Sass)
            {
                counts[$"SASS {what}/{kernel.Name}"] = count;
            }
        }
        if (CudaLibraries.HostRunnerPath() is not null)
        {
            foreach ((string kernel, long count) in LaunchesPerStep(model))
            {
                counts[$"launches per decode step/{kernel}"] = count;
            }
        }
        return counts;
    }

    static IReadOnlyList<(string, long)> LaunchesPerStep(string folder)
    {
        using LoadedModel model = LoadedModel.Load(folder, new() { Device = "cuda-host", MaxSequences = 1, MaxStepTokens = 16, MaxContext = 64, KvBudgetBytes = 4 << 20 });
        using var loop = new StepLoop(model, 1);
        loop.Grow(16);
        loop.Step();
        Dictionary<string, long> Launches() => model.Backend.Counters.Launches?.Invoke().ToDictionary(pair => pair.Name, pair => pair.Count) ?? [];
        Dictionary<string, long> before = Launches();
        loop.Step();
        return [.. Launches().Select(pair => (pair.Key, pair.Value - before.GetValueOrDefault(pair.Key))).Where(pair => pair.Item2 > 0)];
    }
}
