using System.Diagnostics;
using KvCuda.Backends.Cuda;
using KvCuda.Engine;

namespace KvCuda.GpuBench;

/// <summary>
/// The host tier: what pinning and the bus give, and what a prompt costs whose pages went to the host, beside the same prompt
/// cold and with its pages on the device.
/// </summary>
internal static class TierSection
{
    public static void Run(Bench bench)
    {
        Bus(bench);
        Swap(bench).GetAwaiter().GetResult();
    }

    // By the wall clock: a copy of this size takes long beside the calls around it.
    static void Bus(Bench bench)
    {
        const int times = 5;
        using CudaBackend backend = bench.Open();
        long bytes = bench.Tiny ? 1 << 18 : 256 << 20;
        nint device = backend.AllocateBytes("pages", bytes), host = 0;
        double pin = Seconds(() => host = backend.AllocateHost(bytes), 1);
        void Wait(Action copy)
        {
            copy();
            backend.Synchronize();
        }
        double down = Seconds(() => Wait(() => backend.CopyToHost(host, device, bytes)), times);
        double up = Seconds(() => Wait(() => backend.CopyFromHost(device, host, bytes)), times);
        bench.Add(new("tier/pin", $"pinning {bytes >> 20} MiB in one piece", bytes / pin / 1e9, "GB/s"));
        bench.Add(new("tier/down", "device to pinned memory", bytes / down / 1e9, "GB/s"));
        bench.Add(new("tier/up", "pinned memory to device", bytes / up / 1e9, "GB/s"));
    }

    static async Task Swap(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : ModelShape.Medium;
        int length = bench.Tiny ? 70 : 4096;
        long one = (long)(shape.KvBytesKept(Tensors.DType.BF16, shape.Layers) * (length + 64));
        KvEngine engine = await KvEngine.LoadAsync(bench.Models.Folder(shape), new()
        {
            Device = bench.Options.Device, MaxSequences = 1, MaxContext = length + 64, PageTokens = bench.Tiny ? 16 : 64,
            KvBudgetBytes = one * 5 / 4, HostKvBudgetBytes = one * 4,
        }).ConfigureAwait(false);
        await using (engine.ConfigureAwait(false))
        {
            int[] Prompt(int seed) => [.. Enumerable.Range(0, length).Select(i => 3 + ((i + seed) * 7919 % (shape.Vocabulary - 3)))];
            await First(engine, Prompt(0)).ConfigureAwait(false);   // loads kernels
            GenerationResult cold = await First(engine, Prompt(1)).ConfigureAwait(false);
            GenerationResult warm = await First(engine, Prompt(1)).ConfigureAwait(false);
            await First(engine, Prompt(2)).ConfigureAwait(false);   // takes the device
            GenerationResult back = await First(engine, Prompt(1)).ConfigureAwait(false);
            KvStatus status = await engine.GetKvStatusAsync().ConfigureAwait(false);
            double ms = back.TimeToFirstToken.TotalMilliseconds;
            bench.Add(new("tier/back", $"first token of {length} tokens whose pages are on the host", ms, "ms")
            {
                Note = $"{back.CachedTokens} tokens cached; {status.MovedUpPages} pages came up, {status.MovedDownPages} went down in all",
            });
            bench.Add(new("tier/warm", "the same with its pages on the device", warm.TimeToFirstToken.TotalMilliseconds, "ms"));
            bench.Add(new("tier/cold", "the same cold", cold.TimeToFirstToken.TotalMilliseconds, "ms"));
            bench.Add(new("tier/share-of-cold", "first token from the host as a share of the cold one", ms / cold.TimeToFirstToken.TotalMilliseconds, "of cold"));
        }
    }

    static async Task<GenerationResult> First(KvEngine engine, int[] prompt)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in engine.GenerateAsync(prompt, new() { MaxTokens = 1, IgnoreEos = true }).ConfigureAwait(false))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    static double Seconds(Action action, int times)
    {
        double best = double.MaxValue;
        for (int i = 0; i < times; i++)
        {
            long start = Stopwatch.GetTimestamp();
            action();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best;
    }
}
