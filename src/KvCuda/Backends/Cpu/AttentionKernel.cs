using System.Numerics.Tensors;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Attention of every (row, kv head) over its pages; the query heads of a group share the widened keys and values.
///
/// Reduction order: chunks of <see cref="AttentionMask.ChunkTokens"/> tokens aligned to token positions. Inside a chunk:
/// scores, their maximum m, weights exp(s - m), their sum l, o = sum of weight times value in token order. Chunks are merged
/// in token order with the online softmax (Milakov and Gimelshein 2018): o = o e^(M - M') + o_c e^(m - M'), M' = max(M, m).
/// What a row sees depends on its own position only, so its bits do not depend on its batch mates or on chunked prefill.
/// </summary>
internal static unsafe class AttentionKernel
{
    internal struct Arguments
    {
        public float* Y;        // (rows, heads * headDim)
        public float* Q;        // (rows, heads * headDim)
        public KvKernels.Pages Kv;
        public AttentionMask Mask;
        public int* Positions;  // (rows)
        public int* Sequences;  // (rows)
        public int Rows, Heads;
    }

    public static void Share<T, TElement>(void* argument, int member, int members)
        where T : unmanaged where TElement : IElement<T>
    {
        ref Arguments a = ref *(Arguments*)argument;
        int headDim = a.Kv.HeadDim, group = a.Heads / a.Kv.KvHeads;
        const int chunk = AttentionMask.ChunkTokens;
        using Scratch keys = new(chunk * headDim);
        using Scratch values = new(chunk * headDim);
        using Scratch scores = new(chunk);
        using Scratch partial = new(headDim);
        using Scratch sums = new(2 * group); // per query head: the running maximum M, the running sum L

        // Units of equal position cost the same, so members take turns instead of consecutive runs.
        for (int unit = member; unit < a.Rows * a.Kv.KvHeads; unit += members)
        {
            int row = unit / a.Kv.KvHeads, kvHead = unit % a.Kv.KvHeads;
            float* y = a.Y + ((long)row * a.Heads + kvHead * group) * headDim;
            float* q = a.Q + ((long)row * a.Heads + kvHead * group) * headDim;
            new Span<float>(y, group * headDim).Clear();
            if (a.Sequences[row] < 0)
            {
                continue;
            }
            sums.Span[..group].Fill(float.NegativeInfinity);
            sums.Span[group..].Clear();

            int end = a.Positions[row] + (a.Mask.StrictlyEarlier ? 0 : 1);
            int start = a.Mask.Window > 0 ? Math.Max(0, a.Positions[row] + 1 - a.Mask.Window) : 0;
            int sinks = Math.Min(a.Mask.Sinks, Math.Min(start, end));
            for (int from = 0; from < end; from = (from / chunk + 1) * chunk)
            {
                // The sinks and the window can leave a hole; a chunk has at most one run of each.
                int until = Math.Min(end, (from / chunk + 1) * chunk);
                int count = 0;
                count += Widen<T, TElement>(a, row, kvHead, from, Math.Min(until, sinks), keys, values, count);
                count += Widen<T, TElement>(a, row, kvHead, Math.Max(from, start), until, keys, values, count);
                if (count == 0)
                {
                    continue;
                }
                for (int head = 0; head < group; head++)
                {
                    MergeChunk(new(q + head * headDim, headDim), new(y + head * headDim, headDim), keys.Span, values.Span,
                        scores.Span[..count], partial.Span, a.Mask.Scale, ref sums.Span[head], ref sums.Span[group + head]);
                }
            }
            for (int head = 0; head < group; head++)
            {
                float sum = sums.Span[group + head];
                if (sum > 0)
                {
                    Span<float> o = new(y + head * headDim, headDim);
                    TensorPrimitives.Multiply(o, 1 / sum, o);
                }
            }
        }
    }

    // Tokens [from, until) of the row's sequence as f32, from place `at` of the scratch on; returns how many.
    static int Widen<T, TElement>(in Arguments a, int row, int kvHead, int from, int until, in Scratch keys, in Scratch values,
        int at) where T : unmanaged where TElement : IElement<T>
    {
        int headDim = a.Kv.HeadDim;
        for (int token = from; token < until;)
        {
            int run = Math.Min(until - token, a.Kv.PageTokens - token % a.Kv.PageTokens);
            T* k = (T*)a.Kv.Key(a.Sequences[row], token, kvHead);
            long first = (long)(at + token - from) * headDim;
            RowKernels.Widen(new(keys.Address + first, run * headDim), k, 0, a.Kv.Type);
            RowKernels.Widen(new(values.Address + first, run * headDim), k + a.Kv.ValueOffset, 0, a.Kv.Type);
            token += run;
        }
        return Math.Max(0, until - from);
    }

    static void MergeChunk(ReadOnlySpan<float> q, Span<float> o, ReadOnlySpan<float> keys, ReadOnlySpan<float> values,
        Span<float> scores, Span<float> partial, float scale, ref float maximum, ref float sum)
    {
        int headDim = q.Length;
        for (int token = 0; token < scores.Length; token++)
        {
            scores[token] = scale * TensorPrimitives.Dot(q, keys.Slice(token * headDim, headDim));
        }
        float chunkMaximum = TensorPrimitives.Max<float>(scores);
        TensorPrimitives.Subtract(scores, chunkMaximum, scores);
        TensorPrimitives.Exp(scores, scores);
        float chunkSum = TensorPrimitives.Sum<float>(scores);
        partial.Clear();
        for (int token = 0; token < scores.Length; token++)
        {
            TensorPrimitives.MultiplyAdd(values.Slice(token * headDim, headDim), scores[token], partial, partial);
        }

        float merged = MathF.Max(maximum, chunkMaximum);
        float keep = MathF.Exp(maximum - merged), take = MathF.Exp(chunkMaximum - merged);
        sum = sum * keep + chunkSum * take;
        maximum = merged;
        TensorPrimitives.Multiply(o, keep, o);
        TensorPrimitives.MultiplyAdd(partial, take, o, o);
    }
}
