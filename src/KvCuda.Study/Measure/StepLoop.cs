// Decode steps at any batch and context, over keys and values that nobody computed.
using System.Diagnostics;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.Study;

/// <summary>
/// Sequences as long as asked for. Their tokens were never computed: the pages hold random numbers, which take as long to read, so
/// that a context of any length costs nothing to reach. A step does all that a step of the engine does.
/// </summary>
internal sealed class StepLoop : IDisposable
{
    readonly LoadedModel model;
    readonly StepRunner runner;
    readonly List<KvSequence> sequences = [];
    readonly int[] tokens;
    readonly int[] filler;
    readonly byte[] block;
    readonly HashSet<int> filled = [];

    /// <param name="model">loaded with room for the sequences and the steps that will be run</param>
    /// <param name="count">how many sequences</param>
    public StepLoop(LoadedModel model, int count)
    {
        this.model = model;
        runner = new(model);
        tokens = new int[count];
        filler = new int[Math.Min(model.Store.ChunkTokens, 256)];
        Array.Fill(filler, 1);
        Array.Fill(tokens, 1);
        block = RandomBytes.Of(model.KvType, 1 << 16);
        for (int i = 0; i < count; i++)
        {
            sequences.Add(model.Store.Open());
        }
    }

    /// <summary>Tokens of each sequence.</summary>
    public int Length => sequences[0].Length;

    /// <summary>Makes every sequence as long as this; they only grow.</summary>
    public void Grow(int length)
    {
        foreach (KvSequence sequence in sequences)
        {
            while (sequence.Length < length)
            {
                int some = Math.Min(filler.Length, length - sequence.Length);
                if (!model.Store.TryReserve(sequence, some))
                {
                    throw new KvBudgetException($"A budget of {model.Store.BudgetBytes:N0} bytes does not hold {sequences.Count} sequences of "
                        + $"{length} tokens.", model.Store.BudgetBytes + 1, model.Store.BudgetBytes);
                }
                model.Store.Advance(sequence, filler.AsSpan(0, some));
            }
            Fill(sequence);
        }
    }

    // Random numbers in the pages that have none yet: zeros would be faster than real data on some devices.
    void Fill(KvSequence sequence)
    {
        int[] table = new int[sequence.PageCount];
        for (int c = 0; c < model.Layout.Classes.Count; c++)
        {
            sequence.WriteTable(c, table);
            long bytes = model.Layout.Classes[c].PageBytes;
            foreach (int page in table.Where(page => page >= 0 && filled.Add(page)))
            {
                for (long from = 0; from < bytes; from += block.Length)
                {
                    model.Memory.Arena.Write(((long)page * KvPageShape.GranuleBytes) + from, block.AsSpan(0, (int)Math.Min(block.Length, bytes - from)));
                }
            }
        }
    }

    /// <summary>Makes every sequence this short again. Not for maps with windows: their pages are gone.</summary>
    public void Rewind(int length) => sequences.ForEach(sequence => model.Store.Truncate(sequence, length));

    /// <summary>One step of all sequences.</summary>
    public void Step() => runner.Decode(sequences, tokens);

    /// <summary>Seconds of each of some steps, one after another; all sequences are a token longer after each.</summary>
    public double[] Seconds(int steps)
    {
        double[] seconds = new double[steps];
        for (int i = 0; i < steps; i++)
        {
            long start = Stopwatch.GetTimestamp();
            runner.Decode(sequences, tokens);
            seconds[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        return seconds;
    }

    /// <summary>Bytes allocated on the managed heap, by any thread, per step.</summary>
    public double AllocatedPerStep(int steps)
    {
        Seconds(steps); // compiled, and every buffer grown
        long start = GC.GetTotalAllocatedBytes(precise: true);
        for (int i = 0; i < steps; i++)
        {
            runner.Decode(sequences, tokens);
        }
        return (GC.GetTotalAllocatedBytes(precise: true) - start) / (double)steps;
    }

    public void Dispose()
    {
        foreach (KvSequence sequence in sequences)
        {
            model.Store.Close(sequence);
        }
        runner.Dispose();
    }
}
