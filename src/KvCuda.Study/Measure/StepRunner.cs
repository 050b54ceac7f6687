// Passes of a loaded model over some sequences, as studies and benches run them.
using System.Runtime.InteropServices;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.Study;

/// <summary>Greedy decode steps, prompts, and predictions of whole texts, over sequences that the caller opened.</summary>
internal sealed class StepRunner : IDisposable
{
    readonly LoadedModel model;
    readonly Pass pass;
    readonly Sampler sampler;

    public StepRunner(LoadedModel model)
    {
        (this.model, pass) = (model, model.Pass);
        sampler = new(model.Backend, pass.MaxSequences, model.Config.Vocabulary);
    }

    /// <summary>One decode step of all sequences: token i follows sequence i, and is replaced by the likeliest next one.</summary>
    public void Decode(IReadOnlyList<KvSequence> sequences, int[] tokens)
    {
        pass.Clear();
        sampler.Clear();
        for (int i = 0; i < sequences.Count; i++)
        {
            Expect(pass.TryAdd(sequences[i], tokens.AsSpan(i, 1), wanted: 1));
            sampler.Add(Sampler.Greedy);
        }
        ReadOnlySpan<int> chosen = sampler.Choose(pass.Run());
        for (int i = 0; i < sequences.Count; i++)
        {
            pass.Accept(i);
            tokens[i] = chosen[i];
        }
    }

    /// <summary>Runs a prompt from where the sequence stands and says which token follows it.</summary>
    public int Prompt(KvSequence sequence, ReadOnlySpan<int> tokens, PrefillMode mode)
    {
        for (int done = 0; ;)
        {
            int left = tokens.Length - done, rows = Rows(mode, left);
            pass.Clear();
            Expect(pass.TryAdd(sequence, tokens.Slice(done, rows), wanted: rows == left ? 1 : 0));
            Tensor logits = pass.Run(mode);
            pass.Accept(0);
            done += rows;
            if (rows == left)
            {
                sampler.Clear();
                sampler.Add(Sampler.Greedy);
                return sampler.Choose(logits)[0];
            }
        }
    }

    /// <summary>
    /// Predicts every token of some windows but the first, each a sequence of its own, as many at a time as a pass takes.
    /// </summary>
    /// <param name="windows">token ids, at least two each; the store must hold a pass's sequences at their longest</param>
    /// <param name="mode">how they run</param>
    /// <param name="visit">given window, index of the token that is predicted, and the logits</param>
    public void Predict(IReadOnlyList<int[]> windows, PrefillMode mode, Action<int, int, float[]> visit)
    {
        foreach (int[] group in Enumerable.Range(0, windows.Count).Chunk(pass.MaxSequences))
        {
            KvSequence[] open = [.. group.Select(_ => model.Store.Open())];
            try
            {
                while (Step(windows, group, open, mode, visit))
                {
                }
            }
            finally
            {
                Array.ForEach(open, model.Store.Close);
            }
        }
    }

    bool Step(IReadOnlyList<int[]> windows, int[] group, KvSequence[] open, PrefillMode mode, Action<int, int, float[]> visit)
    {
        pass.Clear();
        List<(int Place, int Item, int Rows)> scheduled = [];
        for (int place = 0; place < group.Length; place++)
        {
            int[] ids = windows[group[place]];
            int left = ids.Length - 1 - open[place].Length, rows = left > 0 ? Rows(mode, left) : 0;
            if (rows > 0 && rows <= pass.Room && rows <= pass.WantedRoom)
            {
                scheduled.Add((place, Expect(pass.TryAdd(open[place], ids.AsSpan(open[place].Length, rows), wanted: rows)), rows));
            }
        }
        if (scheduled.Count == 0)
        {
            return false;
        }
        Tensor logits = pass.Run(mode);
        float[] numbers = new float[model.Config.Vocabulary];
        foreach ((int place, int item, int rows) in scheduled)
        {
            int from = open[place].Length;
            for (int i = 0; i < rows; i++)
            {
                model.Backend.Read(MemoryMarshal.AsBytes(numbers.AsSpan()), logits.Slice(pass.RowOf(item) + i, 1));
                visit(group[place], from + i + 1, numbers);
            }
            pass.Accept(item);
        }
        return true;
    }

    int Rows(PrefillMode mode, int left) => mode.Kind switch
    {
        PrefillKind.Sequential when model.Sharing.IsCyclic => 1,
        PrefillKind.Iterative when model.Sharing.IsCyclic => left <= mode.Passes ? 1 : left,
        _ => Math.Min(left, pass.ChunkTokens),
    };

    int Expect(int item) => item >= 0 ? item : throw new KvBudgetException(
        $"The key/value budget of {model.Store.BudgetBytes:N0} bytes does not hold what is to be measured.",
        model.Store.BudgetBytes + 1, model.Store.BudgetBytes);

    public void Dispose() => sampler.Dispose();
}
