using System.Diagnostics;
using KvCuda.Backends.Cuda;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>Where the time of decode steps went, in microseconds per step.</summary>
/// <param name="Wall">from one token to the next, by the wall clock</param>
/// <param name="Device">the captured pass and the choice of tokens, by events, queued one after another without the host</param>
/// <param name="Host">work of the host: choosing pages, writing the batch, queueing, accepting; not waiting</param>
internal readonly record struct StepTimes(double Wall, double Device, double Host)
{
    /// <summary>What of the step the device does not explain: it waited for the host.</summary>
    public double Exposed => Math.Max(0, Wall - Device);
}

/// <summary>
/// Decode steps as the engine runs them (reserve, upload, forward, sample, read, accept) over sequences that are as long as
/// asked for. Their first tokens were never computed: the pages hold random numbers, which take as long to read.
/// </summary>
internal sealed class DecodeLoop : IDisposable
{
    readonly LoadedModel model;
    readonly CudaBackend backend;
    readonly KvSequence[] sequences;
    readonly Sampler sampler;
    readonly int[] tokens;
    long hostTicks;

    /// <param name="model">loaded with room for the sequences and for the steps that will be run</param>
    /// <param name="count">how many sequences</param>
    /// <param name="context">tokens of each</param>
    public DecodeLoop(LoadedModel model, int count, int context)
    {
        this.model = model;
        backend = (CudaBackend)model.Backend;
        sampler = new(backend, count, model.Config.Vocabulary);

        byte[] block = RandomBytes.Of(DType.BF16, (int)Math.Min(model.Store.ArenaBytes / 2, 1 << 20));
        RandomBytes.Fill(model.Store.ArenaBytes, block, part => model.Memory.Arena.Write(0, part),
            (to, from, bytes) => backend.CopyBytes(model.Memory.Arena.Address + (nint)to, model.Memory.Arena.Address + (nint)from, bytes));
        int[] prompt = new int[context];
        Array.Fill(prompt, 3);
        sequences = [.. Enumerable.Range(0, count).Select(_ => model.Store.Open())];
        tokens = new int[count];
        foreach (KvSequence sequence in sequences)
        {
            Reserve(model.Store.TryReserve(sequence, context));
            model.Store.Advance(sequence, prompt);
        }
        Array.Fill(tokens, 5);
    }

    /// <summary>Runs steps and says where their time went.</summary>
    public StepTimes Measure(int steps)
    {
        for (int i = 0; i < 3; i++)
        {
            Step(); // loads the kernels, captures the pass, replays it
        }
        double[] walls = new double[3];
        hostTicks = 0;
        for (int i = 0; i < walls.Length; i++)
        {
            long start = Stopwatch.GetTimestamp();
            for (int n = 0; n < steps; n++)
            {
                Step();
            }
            walls[i] = Stopwatch.GetElapsedTime(start).TotalMicroseconds / steps;
        }
        Array.Sort(walls);
        double host = hostTicks * 1e6 / Stopwatch.Frequency / (steps * walls.Length);
        using var stopwatch = new DeviceStopwatch(backend.Stream);
        Tensor logits = default;
        double device = stopwatch.Microseconds(_ =>
        {
            logits = model.Pass.Forward(PrefillMode.Converged);
            sampler.QueueAgain(logits);
        });
        return new(walls[1], device, host);
    }

    void Step()
    {
        long start = Stopwatch.GetTimestamp();
        Pass pass = model.Pass;
        pass.Clear();
        sampler.Clear();
        for (int i = 0; i < sequences.Length; i++)
        {
            Reserve(pass.TryAdd(sequences[i], tokens.AsSpan(i, 1), wanted: 1) >= 0);
            sampler.Add(Sampler.Greedy);
        }
        sampler.Queue(pass.Run());
        long queued = Stopwatch.GetTimestamp();
        ReadOnlySpan<int> chosen = sampler.Read();
        long read = Stopwatch.GetTimestamp();
        for (int i = 0; i < sequences.Length; i++)
        {
            pass.Accept(i);
            tokens[i] = chosen[i];
        }
        hostTicks += queued - start + (Stopwatch.GetTimestamp() - read);
    }

    void Reserve(bool fits)
    {
        if (!fits)
        {
            throw new KvBudgetException($"The bench's budget of {model.Store.BudgetBytes:N0} bytes does not hold its {sequences.Length} sequences.",
                model.Store.BudgetBytes + 1, model.Store.BudgetBytes);
        }
    }

    public void Dispose()
    {
        foreach (KvSequence sequence in sequences)
        {
            model.Store.Close(sequence);
        }
        backend.Synchronize();
        sampler.Dispose();
    }
}
