using System.Runtime.InteropServices;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace KvCuda.Engine;

/// <summary>exp of the mean cross-entropy of every next token of some windows of text, each a sequence of its own.</summary>
internal static class PerplexityRun
{
    /// <param name="model">loaded so that every row of a pass may be wanted</param>
    /// <param name="mode">how the windows run</param>
    /// <param name="windows">token ids, at least two each; all but the first are predicted from those before them</param>
    public static double Of(LoadedModel model, PrefillMode mode, IReadOnlyList<int[]> windows)
    {
        double total = 0;
        // As many sequences at a time as a batch takes.
        foreach (int[][] some in windows.Chunk(model.Pass.MaxSequences))
        {
            List<Window> open = [.. some.Select(ids => new Window(ids, model.Store.Open()))];
            try
            {
                while (open.Count > 0)
                {
                    Step(model, mode, open);
                    // What is finished makes room for the others.
                    for (int i = open.Count - 1; i >= 0; i--)
                    {
                        if (open[i].Left == 0)
                        {
                            total += open[i].Total;
                            model.Store.Close(open[i].Kv);
                            open.RemoveAt(i);
                        }
                    }
                }
            }
            finally
            {
                foreach (Window window in open)
                {
                    model.Store.Close(window.Kv);
                }
            }
        }
        return Math.Exp(total / windows.Sum(ids => ids.Length - 1));
    }

    sealed class Window(int[] ids, KvSequence kv)
    {
        public int[] Ids => ids;

        public KvSequence Kv { get; set; } = kv;

        /// <summary>The cross-entropy of its predictions so far.</summary>
        public double Total { get; set; }

        public int Left => Ids.Length - 1 - Kv.Length;
    }

    // One pass over the next rows of as many windows as fit. Where windows under way keep each other from going on, the last
    // gives its pages back and begins again later.
    static void Step(LoadedModel model, PrefillMode mode, List<Window> windows)
    {
        Pass pass = model.Pass;
        pass.Clear();
        List<(Window Window, int Item, int Rows)> scheduled = [];
        foreach (Window window in windows)
        {
            int rows = mode.Kind switch
            {
                PrefillKind.Sequential => Math.Min(1, window.Left),
                PrefillKind.Iterative => window.Left,
                _ => Math.Min(pass.ChunkTokens, window.Left),
            };
            if (rows > 0 && rows <= pass.Room
                && pass.TryAdd(window.Kv, window.Ids.AsSpan(window.Kv.Length, rows), wanted: rows) is >= 0 and int item)
            {
                scheduled.Add((window, item, rows));
            }
        }
        if (scheduled.Count == 0)
        {
            if (windows.FindLast(window => window.Kv.Length > 0) is { } last && last != windows.Find(window => window.Kv.Length > 0))
            {
                model.Store.Close(last.Kv);
                (last.Kv, last.Total) = (model.Store.Open(), 0);
                return;
            }
            throw new KvBudgetException($"The key/value budget of {model.Store.BudgetBytes:N0} bytes does not hold one window; raise --kv-budget.",
                model.Store.BytesFor(windows.Max(window => window.Ids.Length)), model.Store.BudgetBytes);
        }
        Tensor logits = pass.Run(mode);
        float[] numbers = new float[model.Config.Vocabulary];
        foreach ((Window window, int item, int rows) in scheduled)
        {
            for (int i = 0; i < rows; i++)
            {
                model.Backend.Read(MemoryMarshal.AsBytes(numbers.AsSpan()), logits.Slice(pass.RowOf(item) + i, 1));
                window.Total += LogSumExp(numbers) - numbers[window.Ids[window.Kv.Length + 1 + i]];
            }
            pass.Accept(item);
        }
    }

    static double LogSumExp(ReadOnlySpan<float> logits)
    {
        float largest = TensorPrimitives.Max(logits);
        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - largest);
        }
        return largest + Math.Log(sum);
    }
}
