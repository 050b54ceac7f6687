using System.Runtime.InteropServices;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace KvCuda.Tests.Models;

/// <summary>exp of the mean cross-entropy of every next token of some windows of text, each a sequence of its own.</summary>
static class Perplexity
{
    const int Rows = 256;

    /// <param name="folder">a model folder</param>
    /// <param name="mode">how the windows run; f32 keys and values</param>
    /// <param name="windows">token ids; all but the first of each are predicted from those before them</param>
    public static double Of(string folder, PrefillMode mode, int[][] windows)
    {
        using LoadedModel model = LoadedModel.Load(folder,
            new() { Device = "cpu", KvType = "f32", Prefill = mode, MaxRows = Rows, MaxSequences = Rows });
        Window[] open = [.. windows.Select(ids => new Window(ids, model.Store.Open()))];
        double total = 0;
        while (open.Any(window => window.Left > 0))
        {
            total += Step(model, mode, open);
        }
        foreach (Window window in open)
        {
            model.Store.Close(window.Kv);
        }
        return Math.Exp(total / open.Sum(window => window.Ids.Length - 1));
    }

    sealed record Window(int[] Ids, KvSequence Kv)
    {
        public int Left => Ids.Length - 1 - Kv.Length;
    }

    // One pass over the next rows of as many windows as fit; the cross-entropy of all its predictions.
    static double Step(LoadedModel model, PrefillMode mode, Window[] windows)
    {
        Batch batch = model.Batch;
        batch.Clear();
        List<(Window Window, int Rows)> scheduled = [];
        foreach (Window window in windows)
        {
            int rows = mode.Kind switch
            {
                PrefillKind.Sequential => Math.Min(1, window.Left),
                PrefillKind.Iterative => window.Left,
                _ => Math.Min(model.ChunkTokens, window.Left),
            };
            if (rows > 0 && rows <= batch.Room)
            {
                Assert.True(model.Store.TryReserve(window.Kv, rows));
                int sequence = batch.Add(window.Ids.AsSpan(window.Kv.Length, rows), window.Kv.Length, wanted: rows);
                model.WriteTables(sequence, window.Kv);
                scheduled.Add((window, rows));
            }
        }
        model.CopyPages();
        batch.Upload();
        Tensor logits = model.Forward(mode);
        float[] row = new float[model.Config.Vocabulary];
        double total = 0;
        int read = 0;
        foreach ((Window window, int rows) in scheduled)
        {
            for (int i = 1; i <= rows; i++)
            {
                model.Backend.Read(MemoryMarshal.AsBytes(row.AsSpan()), logits.Slice(read++, 1));
                total += LogSumExp(row) - row[window.Ids[window.Kv.Length + i]];
            }
            model.Store.Advance(window.Kv, window.Ids.AsSpan(window.Kv.Length, rows));
        }
        return total;
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
