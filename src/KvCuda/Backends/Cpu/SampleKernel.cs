using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// The next token of each row, as <see cref="SampleRow"/> defines it. Nothing is sorted but a few candidates: the largest
/// logit of every block of ids is noted once, filters become a <see cref="SampleCut"/>, and the draw is a running sum in
/// order of ids.
/// </summary>
internal static unsafe class SampleKernel
{
    /// <summary>Ids whose largest logit is noted.</summary>
    public const int Block = 256;

    internal struct Arguments
    {
        public int* Tokens;         // (rows)
        public float* Logits;       // (rows, vocabulary)
        public SampleRow* Rows;     // (rows)
        public int* History;        // (history)
        public int Vocabulary, HistoryCount;
    }

    /// <summary>The body of a share of rows, one each.</summary>
    public static void Share(void* argument, int row, int rows)
    {
        ref Arguments a = ref *(Arguments*)argument;
        ref SampleRow how = ref a.Rows[row];
        ReadOnlySpan<int> history = new ReadOnlySpan<int>(a.History, a.HistoryCount).Slice(how.HistoryStart, how.HistoryCount);
        a.Tokens[row] = Choose(new(a.Logits + (long)row * a.Vocabulary, a.Vocabulary), how, history);
    }

    /// <summary>Chooses a token; penalties change <paramref name="logits"/> in place.</summary>
    /// <param name="logits">(vocabulary)</param>
    /// <param name="how">how to choose</param>
    /// <param name="history">the distinct tokens this row has seen</param>
    /// <returns>an id, or <see cref="SampleRow.NoToken"/></returns>
    public static int Choose(Span<float> logits, in SampleRow how, ReadOnlySpan<int> history)
    {
        if (how.RepetitionPenalty != 1)
        {
            foreach (int token in history)
            {
                logits[token] = how.Penalised(logits[token]);
            }
        }
        int blocks = (logits.Length + Block - 1) / Block;
        using Scratch memory = new(blocks);
        fixed (float* start = logits)
        {
            var row = new SampleLogits(start, logits.Length, memory.Address);
            if (!row.FindLargest(out int best))
            {
                return SampleRow.NoToken;
            }
            return how.Temperature > 0 ? Draw(row, how) : best;
        }
    }

    static int Draw(in SampleLogits row, in SampleRow how)
    {
        var weights = new SampleWeights(row.Largest, how.Temperature);
        SampleCut cut = SampleCut.Of(row, weights, how);
        long least = how.LeastWeight;
        using Scratch memory = new(2L * row.Blocks);
        long* sums = (long*)memory.Address;
        long total = 0;
        for (int block = 0; block < row.Blocks; block++)
        {
            long sum = row.BlockLargest[block] < cut.Logit ? 0 : SumOfBlock(row, weights, cut, least, block);
            sums[block] = sum;
            total += sum;
        }
        long bound = how.BoundOf(total), running = 0;
        int at = 0;
        while (running + sums[at] <= bound)
        {
            running += sums[at++];
        }
        return IdInBlock(row, weights, cut, least, at, bound - running);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static long SumOfBlock(in SampleLogits row, in SampleWeights weights, in SampleCut cut, long least, int block)
    {
        int start = block * Block, end = Math.Min(start + Block, row.Count);
        Vector256<float> edge = Vector256.Create(cut.Logit);
        Vector256<long> sum = default, floor = Vector256.Create(least - 1);
        int id = start;
        for (; id + 8 <= end; id += 8)
        {
            Vector256<float> x = Vector256.Load(row.Logits + id);
            Vector256<int> kept = Vector256.GreaterThanOrEqual(x, edge).AsInt32();
            if (kept == default)
            {
                continue;
            }
            if (id + 7 > cut.LastId)
            {
                // Of those equal to the edge, only ids up to the last one.
                Vector256<int> late = Vector256.GreaterThan(Vector256.Create(id) + Vector256<int>.Indices, Vector256.Create(cut.LastId));
                kept = Vector256.AndNot(kept, Vector256.Equals(x, edge).AsInt32() & late);
            }
            weights.Of(x, out Vector256<long> low, out Vector256<long> high);
            if (kept != Vector256<int>.AllBitsSet)
            {
                low &= Vector256.WidenLower(kept);
                high &= Vector256.WidenUpper(kept);
            }
            sum += low & Vector256.GreaterThan(low, floor);
            sum += high & Vector256.GreaterThan(high, floor);
        }
        long total = Vector256.Sum(sum);
        for (; id < end; id++)
        {
            total += WeightOf(row, weights, cut, least, id);
        }
        return total;
    }

    // The first id of a block at which the running sum exceeds the bound.
    static int IdInBlock(in SampleLogits row, in SampleWeights weights, in SampleCut cut, long least, int block, long bound)
    {
        int start = block * Block, end = Math.Min(start + Block, row.Count), last = start;
        long running = 0;
        for (int id = start; id < end; id++)
        {
            running += WeightOf(row, weights, cut, least, id);
            if (running > bound)
            {
                return id;
            }
            last = id;
        }
        return last;
    }

    static long WeightOf(in SampleLogits row, in SampleWeights weights, in SampleCut cut, long least, int id)
    {
        if (!cut.Keeps(row.Logits[id], id))
        {
            return 0;
        }
        long weight = weights.Of(row.Logits[id]);
        return weight >= least ? weight : 0;
    }
}
