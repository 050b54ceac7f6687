using System.Diagnostics;
using System.Globalization;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Bench.KvStore;

/// <summary>
/// <c>bench kv-steps</c>: what bookkeeping costs, in seconds of waiting instead of BenchmarkDotNet's minutes. One decode step of the
/// store alone (reserve, accept) and of the whole scheduler (choose, reserve, write page tables, accept), with what they
/// allocate; and what it costs to publish a prompt's pages and to find them again. The best of several runs: tables and lists of
/// tokens double now and then, between that nothing is allocated.
/// </summary>
static class StepCosts
{
    public static int Run()
    {
        Console.WriteLine("one decode step           us/step    bytes allocated");
        foreach (int sequences in (int[])[1, 64, 256])
        {
            StoreStep(sequences);
            SchedulerStep(sequences);
        }
        Publish();
        return 0;
    }

    static void StoreStep(int count)
    {
        var layout = new KvLayout(LayerSharing.Parse("standard", 24), kvHeads: 2, headDim: 64, DType.BF16, pageTokens: 64);
        var store = new Store(layout, 8L << 30);
        int[] prompt = new int[1000];
        var sequences = new KvSequence[count];
        for (int i = 0; i < count; i++)
        {
            prompt[0] = i;
            sequences[i] = store.Open();
            store.Match(sequences[i], prompt, new(""));
            int length = 900 + 37 * i % 64;
            store.TryReserve(sequences[i], length);
            store.Advance(sequences[i], prompt.AsSpan(0, length));
        }
        Report($"store, {count}", 16, () =>
        {
            ReadOnlySpan<int> token = [7];
            foreach (KvSequence s in sequences)
            {
                store.TryReserve(s, 1);
            }
            store.TakeCopies();
            foreach (KvSequence s in sequences)
            {
                store.Advance(s, token);
            }
        });
    }

    static void SchedulerStep(int count)
    {
        using var folder = new BenchModel(dim: 16, layers: 2, heads: 1, kvHeads: 1, mlp: 16, vocabulary: 64, context: 4096);
        using LoadedModel model = LoadedModel.Load(folder.Folder, new() { Device = "cpu", Threads = 1, MaxSequences = count, MaxStepTokens = 1024, KvBudgetBytes = 1L << 30 });
        var scheduler = new Scheduler(model, new(model));
        for (int i = 0; i < count; i++)
        {
            int[] prompt = [.. Enumerable.Range(0, 900 + 37 * i % 64).Select(t => t == 0 ? i % 64 : t == 1 ? i / 64 : 5)];
            scheduler.Add(new(prompt, new() { MaxTokens = 4096, IgnoreEos = true }, null, [], model.MaxContext, 0, new(""), default));
        }
        void Step()
        {
            List<Scheduler.Scheduled> scheduled = scheduler.Next();
            model.Pass.Upload();
            foreach (Scheduler.Scheduled rows in scheduled)
            {
                model.Pass.Accept(rows.Item);
                if (rows.Wanted > 0)
                {
                    rows.Request.Tokens.Add(7);
                }
            }
        }
        while (scheduler.Waiting > 0 || !model.Pass.IsDecode)
        {
            Step();
        }
        Report($"scheduler, {count}", 16, Step);
    }

    static void Publish()
    {
        var layout = new KvLayout(LayerSharing.Parse("standard", 24), kvHeads: 2, headDim: 64, DType.BF16, pageTokens: 64);
        var store = new Store(layout, 8L << 30);
        int[] prompt = new int[4097];
        double publish = double.MaxValue, find = double.MaxValue;
        for (int round = 0; round < 200; round++)
        {
            prompt[0] = round;
            KvSequence s = store.Open();
            store.Match(s, prompt, new(""));
            store.TryReserve(s, 4096);
            long start = Stopwatch.GetTimestamp();
            store.Advance(s, prompt.AsSpan(0, 4096));
            publish = Math.Min(publish, Stopwatch.GetElapsedTime(start).TotalMicroseconds);
            store.Close(s);
            s = store.Open();
            start = Stopwatch.GetTimestamp();
            store.Match(s, prompt, new(""));
            find = Math.Min(find, Stopwatch.GetElapsedTime(start).TotalMicroseconds);
            store.Close(s);
        }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"a prompt of 4096 tokens   published in {publish:F1} us ({publish / 64:F2} a page), found again in {find:F1} us"));
    }

    static void Report(string what, int steps, Action step)
    {
        double best = double.MaxValue;
        long allocated = long.MaxValue;
        for (int round = 0; round < 48; round++)
        {
            long bytes = GC.GetAllocatedBytesForCurrentThread(), start = Stopwatch.GetTimestamp();
            for (int i = 0; i < steps; i++)
            {
                step();
            }
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalMicroseconds / steps);
            allocated = Math.Min(allocated, (GC.GetAllocatedBytesForCurrentThread() - bytes) / steps);
        }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {what,-22} {best,8:F2}   {allocated,8}"));
    }
}
