using System.Diagnostics;
using KvCuda.Engine;

namespace KvCuda.GpuBench;

/// <summary>
/// From the start of this process to the first token of the 1.1B shape. bench/gpu.sh runs this section in a process of its
/// own, after others have filled the kernel cache.
/// </summary>
internal static class StartUpSection
{
    public static void Run(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : ModelShape.Medium;
        string folder = bench.Models.Folder(shape);
        double process = (DateTime.Now - Process.GetCurrentProcess().StartTime).TotalSeconds;
        long start = Stopwatch.GetTimestamp();
        double weightsBegin = 0, weightsEnd = 0;
        double Now() => Stopwatch.GetElapsedTime(start).TotalSeconds;
        var progress = new Immediate(p =>
        {
            if (p.Stage == "weights")
            {
                weightsBegin = weightsBegin == 0 ? Now() : weightsBegin;
                weightsEnd = Now();
            }
        });
        using KvEngine engine = KvEngine.LoadAsync(folder, new()
        {
            Device = bench.Options.Device, MaxSequences = 1, MaxContext = 512, KvBudgetBytes = bench.Tiny ? 4 << 20 : 64 << 20,
        }, progress).GetAwaiter().GetResult();
        double loaded = Now();
        First(engine, bench.Tiny ? 9 : 128).GetAwaiter().GetResult();
        double first = Now(), copy = weightsEnd - weightsBegin;
        double bytes = (shape.Parameters() + ((double)shape.Dim * shape.Vocabulary)) * 2;
        bench.Add(new("startup/without-weights", "process start to first token, less the copy of the weights", process + first - copy, "s")
        {
            Target = Targets.StartUp,
            Note = $"{process:F2} s until the section begins, driver already open; load {loaded:F2} s, first token {first - loaded:F2} s",
        });
        bench.Add(new("startup/weights", "copy of the weights from the mapped file", copy, "s") { Microseconds = copy * 1e6, Bytes = bytes });
    }

    static async Task First(KvEngine engine, int prompt)
    {
        int[] tokens = [.. Enumerable.Range(3, prompt)];
        await foreach (GeneratedPiece _ in engine.GenerateAsync(tokens, new() { MaxTokens = 1, IgnoreEos = true }).ConfigureAwait(false))
        {
        }
    }

    // Progress<T> would tell later, on another thread.
    sealed class Immediate(Action<LoadProgress> report) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => report(value);
    }
}
