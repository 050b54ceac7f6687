using System.Diagnostics;
using System.Runtime.InteropServices;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.PeerBench;

/// <summary>
/// Decode steps of one sequence over keys and values that nobody computed: its pages are filled with random numbers (in magnitude
/// between a half and one), so that a context of any length costs nothing to reach. A step does all that a step of the engine does:
/// reserve, page tables, forward pass, greedy choice, accept.
/// </summary>
internal sealed class StepLoop
{
    readonly LoadedModel model;
    readonly Sampler sampler;
    readonly int[] token = new int[1];
    KvSequence? sequence;

    public StepLoop(LoadedModel model)
    {
        this.model = model;
        sampler = new(model.Backend, 1, model.Config.Vocabulary);
        sampler.Add(Sampler.Greedy);
    }

    /// <summary>Seconds of greedy steps after a context.</summary>
    public double DecodeAt(int context, int count)
    {
        KvSequence filled = Filled(context);
        Run(filled, 2);
        model.Store.Truncate(filled, context);
        long start = Stopwatch.GetTimestamp();
        Run(filled, count);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        model.Store.Truncate(filled, context);
        return seconds;
    }

    /// <summary>Bytes allocated on the managed heap, by any thread, per step.</summary>
    public double AllocatedPerStep(int count)
    {
        int context = Math.Min(256, model.MaxContext - count);
        KvSequence filled = Filled(context);
        Run(filled, count); // compiled, and every buffer grown
        model.Store.Truncate(filled, context);
        long start = GC.GetTotalAllocatedBytes(precise: true);
        Run(filled, count);
        long bytes = GC.GetTotalAllocatedBytes(precise: true) - start;
        model.Store.Truncate(filled, context);
        return bytes / (double)count;
    }

    void Run(KvSequence filled, int count)
    {
        token[0] = 1;
        for (int step = 0; step < count; step++)
        {
            model.Pass.Clear();
            int item = model.Pass.TryAdd(filled, token, wanted: 1);
            if (item < 0)
            {
                throw new KvBudgetException("The bench's budget holds no further token.", 1, model.Store.BudgetBytes);
            }
            token[0] = sampler.Choose(model.Pass.Run())[0];
            model.Pass.Accept(item);
        }
    }

    KvSequence Filled(int context)
    {
        if (sequence?.Length == context)
        {
            return sequence;
        }
        if (sequence is not null)
        {
            model.Store.Close(sequence);
        }
        sequence = model.Store.Open();
        if (!model.Store.TryReserve(sequence, context + 1))
        {
            throw new KvBudgetException($"The bench's budget does not hold {context} tokens.",
                model.Store.BytesFor(context), model.Store.BudgetBytes);
        }
        byte[] numbers = new byte[1 << 16];
        var random = new Random(1);
        Span<ushort> halves = MemoryMarshal.Cast<byte, ushort>(numbers.AsSpan());
        for (int i = 0; i < halves.Length; i++)
        {
            // bf16 and the upper half of f32: 0.5 to 1, either sign. As f16 it is 1.75 to 2: as good.
            halves[i] = (ushort)(0x3F00 | random.Next(128) | (random.Next(2) << 15));
        }
        int[] table = new int[sequence.PageCount];
        for (int c = 0; c < model.Layout.Classes.Count; c++)
        {
            sequence.WriteTable(c, table);
            long bytes = model.Layout.Classes[c].PageBytes;
            foreach (int page in table.Where(page => page >= 0))
            {
                for (long from = 0; from < bytes; from += numbers.Length)
                {
                    model.Memory.Arena.Write((long)page * KvPageShape.GranuleBytes + from,
                        numbers.AsSpan(0, (int)Math.Min(numbers.Length, bytes - from)));
                }
            }
        }
        model.Store.Advance(sequence, new int[context]);
        return sequence;
    }
}
