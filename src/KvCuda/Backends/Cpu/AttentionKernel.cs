using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>What the attention kernels are given.</summary>
internal unsafe struct Attention
{
    public float* Y;        // (rows, heads * headDim)
    public float* Q;        // (rows, heads * headDim)
    public float* SinkQ;    // the same towards sinks; null unless rows slide
    public KvKernels.Pages Kv;
    public AttentionMask Mask;
    public int* Positions;  // (rows)
    public int* Sequences;  // (rows)
    public int* Spans;      // (rows, 2): sinks and window of rows that slide, 0 and 0 of others; null unless some slide
    public int* Tiles;      // (tiles + 1): first row of each tile of rows, then the end
    public int Rows, Heads, TileCount;

    public readonly int Group => Heads / Kv.KvHeads;

    /// <summary>The tokens that a row sees: [0, Sinks) and [Start, End); sinks have their chunks to themselves (<see cref="StreamRows"/>).</summary>
    public readonly (int Sinks, int Start, int End) Sees(int row)
    {
        int end = Positions[row] + (Mask.StrictlyEarlier ? 0 : 1), window = Mask.Window, sinks = 0;
        if (Spans != null && Spans[2 * row + 1] > 0)
        {
            bool whole = window == 0 || window >= Spans[2 * row] + Spans[2 * row + 1];
            sinks = whole ? Spans[2 * row] : 0;
            window = whole ? Spans[2 * row + 1] : Math.Min(window, Spans[2 * row + 1]);
        }
        return (sinks, window > 0 ? Math.Clamp(Positions[row] + 1 - window, 0, end) : 0, end);
    }

    /// <summary>
    /// Cuts the rows in tiles of neighbours in one sequence that share what they read, and returns a measure of the work:
    /// multiply-adds. <paramref name="tiles"/> has room for rows + 1.
    /// </summary>
    public long Cut(int* tiles)
    {
        // 32 queries and their scores stay in the L1 cache. Rows of one sequence slide all or none.
        int most = Math.Max(1, 32 / Group);
        long tokens = 0;
        Tiles = tiles;
        TileCount = 0;
        for (int row = 0; row < Rows; row++)
        {
            if (row == 0 || row - tiles[TileCount - 1] == most || Sequences[row] != Sequences[row - 1]
                || Positions[row] != Positions[row - 1] + 1)
            {
                tiles[TileCount++] = row;
            }
            (int sinks, int start, int end) = Sees(row);
            tokens += sinks + end - start;
        }
        tiles[TileCount] = Rows;
        return 2 * tokens * Heads * Kv.HeadDim;
    }
}

/// <summary>
/// softmax(scale * q · Kᵀ) · V of a tile of rows and one kv head at a time, keys and values read in place from their pages and
/// widened in registers. The queries of the tile (rows x heads of the group) share what is read, four at a time.
///
/// Reduction order: chunks of <see cref="AttentionMask.ChunkTokens"/> tokens aligned to token positions. Inside a chunk:
/// scores, each summed as a product of <see cref="MatvecKernel{TLanes, T, TElement}"/>; M' = max(M, their maximum); weights
/// exp(s - M'); l = l e^(M - M') + the weights' sum, over sixteen lanes by position and then over the lanes; o = o e^(M - M'), to
/// which weight times value is added token by token (online softmax: Milakov and Gimelshein 2018). What a row sees depends on its
/// own position only, so its bits do not depend on its tile, its batch mates or chunked prefill.
/// </summary>
internal static unsafe class AttentionKernel<TLanes, T, TElement>
    where TLanes : struct, ILanes<TLanes> where T : unmanaged where TElement : IElement<T>
{
    const int Chunk = AttentionMask.ChunkTokens;

    // A run of tokens in one page: where they are, as rows of Stride numbers.
    readonly struct Run(T* keys, T* values, int stride, int first, int count)
    {
        public readonly T* Keys = keys, Values = values;
        public readonly int Stride = stride, First = first, Count = count;

        public int End => First + Count;
    }

    // One unit's queries, in lane order, and what has been summed so far.
    ref struct Queries
    {
        public float* Q;        // (count, width)
        public float* SinkQ;    // (count, width), where there are sinks
        public float* Output;   // (count, width): of the chunks so far
        public float* Scores;   // (count, Chunk), then weights
        public float* Maxima;   // (count)
        public float* Sums;     // (count)
        public int Count, Width;
    }

    public static void Share(void* argument, int share, int shares)
    {
        ref readonly Attention a = ref *(Attention*)argument;
        // Later rows see more: they go first, so that no long unit is left for the end.
        int unit = shares - 1 - share, tile = unit / a.Kv.KvHeads;
        Unit(a, a.Tiles[tile], a.Tiles[tile + 1], unit % a.Kv.KvHeads);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Unit(in Attention a, int first, int last, int kvHead)
    {
        int headDim = a.Kv.HeadDim, group = a.Group, count = (last - first) * group;
        int width = (headDim + Product.Step - 1) / Product.Step * Product.Step;
        if (a.Sequences[first] < 0)
        {
            for (int row = first; row < last; row++)
            {
                new Span<float>(a.Y + ((long)row * a.Heads + kvHead * group) * headDim, group * headDim).Clear();
            }
            return;
        }
        bool sinks = a.Sees(first).Sinks > 0;
        using Scratch memory = new(count * ((sinks ? 3L : 2L) * width + Chunk + 2) + width);
        Queries queries = new()
        {
            Q = memory.Address, Output = memory.Address + count * width, SinkQ = memory.Address + 2 * count * width,
            Scores = memory.Address + (sinks ? 3 : 2) * count * width, Count = count, Width = width,
        };
        queries.Maxima = queries.Scores + count * Chunk;
        queries.Sums = queries.Maxima + count;
        float* inOrder = queries.Sums + count;
        new Span<float>(queries.Output, count * width).Clear();
        new Span<float>(queries.Maxima, count).Fill(float.NegativeInfinity);
        new Span<float>(queries.Sums, count).Clear();
        for (int query = 0; query < count; query++)
        {
            long at = ((long)(first + query / group) * a.Heads + kvHead * group + query % group) * headDim;
            XLanes.Row(a.Q + at, headDim, TElement.SplitsEvenOdd, queries.Q + query * width);
            if (sinks)
            {
                XLanes.Row(a.SinkQ + at, headDim, TElement.SplitsEvenOdd, queries.SinkQ + query * width);
            }
        }

        Chunks(a, first, last, kvHead, ref queries);

        for (int query = 0; query < count; query++)
        {
            float* y = a.Y + ((long)(first + query / group) * a.Heads + kvHead * group + query % group) * headDim;
            float sum = queries.Sums[query];
            XLanes.Back(queries.Output + query * width, width, TElement.SplitsEvenOdd, inOrder);
            TLanes factor = TLanes.All(sum > 0 ? 1 / sum : 1);
            for (int d = 0; d < width; d += 16)
            {
                TLanes.Store(TLanes.Multiply(TLanes.Load(inOrder + d), factor), inOrder + d);
            }
            new ReadOnlySpan<float>(inOrder, headDim).CopyTo(new Span<float>(y, headDim));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Chunks(in Attention a, int first, int last, int kvHead, ref Queries queries)
    {
        int headDim = a.Kv.HeadDim, width = queries.Width;
        // The tile sees [0, sinks) and [start, end): the union of its rows' views, which grow with the row.
        (int sinks, int start, _) = a.Sees(first);
        int end = a.Sees(last - 1).End;
        // Heads whose numbers do not fill whole steps are read from a padded copy, one run at a time.
        bool padded = headDim != width;
        using Scratch copy = new(padded ? 2 * Chunk * width * sizeof(T) / sizeof(float) : 1);
        Run* runs = stackalloc Run[Chunk];
        float* q = queries.Q;
        for (int from = 0; from < end; from += Chunk)
        {
            int until = Math.Min(end, from + Chunk), count = 0;
            count = Find(a, first, kvHead, from, Math.Min(until, sinks), copy.Address, width, from, runs, count);
            count = Find(a, first, kvHead, Math.Max(from, start), until, copy.Address, width, from, runs, count);
            if (count == 0)
            {
                continue;
            }
            queries.Q = from < sinks ? queries.SinkQ : q;
            for (int i = 0; i < count; i++)
            {
                Scores(queries, runs[i], runs[i].First - from);
            }
            for (int query = 0; query < queries.Count; query++)
            {
                Weigh(a, first + query / a.Group, from, query, ref queries);
            }
            for (int i = 0; i < count; i++)
            {
                Values(a, first, queries, runs[i], from);
            }
        }
    }

    // The runs of tokens [from, until) of the sequence of a row; returns how many runs there are now.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static int Find(in Attention a, int row, int kvHead, int from, int until, float* copy, int width, int chunk, Run* runs, int count)
    {
        for (int token = from; token < until;)
        {
            int tokens = Math.Min(until - token, a.Kv.PageTokens - token % a.Kv.PageTokens);
            T* keys = (T*)a.Kv.Key(a.Sequences[row], token, kvHead), values = keys + a.Kv.ValueOffset;
            int stride = a.Kv.HeadDim;
            if (stride != width)
            {
                T* paddedKeys = (T*)copy + (token - chunk) * width, paddedValues = paddedKeys + Chunk * width;
                new Span<T>(paddedKeys, tokens * width).Clear();
                new Span<T>(paddedValues, tokens * width).Clear();
                for (int i = 0; i < tokens; i++)
                {
                    new Span<T>(keys + i * stride, stride).CopyTo(new Span<T>(paddedKeys + i * width, stride));
                    new Span<T>(values + i * stride, stride).CopyTo(new Span<T>(paddedValues + i * width, stride));
                }
                keys = paddedKeys;
                values = paddedValues;
                stride = width;
            }
            runs[count++] = new(keys, values, stride, token, tokens);
            token += tokens;
        }
        return count;
    }

    // scores[query][at + i] = q · k of the run's tokens: four queries to a token, or four tokens to a query.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Scores(in Queries queries, in Run run, int at)
    {
        int width = queries.Width, query = 0;
        for (; query + 4 <= queries.Count; query += 4)
        {
            float* q = queries.Q + query * width, scores = queries.Scores + query * Chunk + at;
            T* k = run.Keys;
            for (int token = 0; token < run.Count; token++, k += run.Stride)
            {
                TLanes e0 = default, o0 = default, e1 = default, o1 = default, e2 = default, o2 = default, e3 = default, o3 = default;
                for (int d = 0; d < width; d += Product.Step)
                {
                    TLanes first = TElement.First<TLanes>(k + d), second = TElement.Second<TLanes>(k + d);
                    float* x = q + d;
                    e0 = TLanes.Fma(first, TLanes.Load(x), e0);
                    o0 = TLanes.Fma(second, TLanes.Load(x + 16), o0);
                    x += width;
                    e1 = TLanes.Fma(first, TLanes.Load(x), e1);
                    o1 = TLanes.Fma(second, TLanes.Load(x + 16), o1);
                    x += width;
                    e2 = TLanes.Fma(first, TLanes.Load(x), e2);
                    o2 = TLanes.Fma(second, TLanes.Load(x + 16), o2);
                    x += width;
                    e3 = TLanes.Fma(first, TLanes.Load(x), e3);
                    o3 = TLanes.Fma(second, TLanes.Load(x + 16), o3);
                }
                Vector128<float> four = TLanes.Sum4(TLanes.Add(e0, o0), TLanes.Add(e1, o1), TLanes.Add(e2, o2), TLanes.Add(e3, o3));
                scores[token] = four[0];
                scores[token + Chunk] = four[1];
                scores[token + 2 * Chunk] = four[2];
                scores[token + 3 * Chunk] = four[3];
            }
        }
        for (; query < queries.Count; query++)
        {
            float* q = queries.Q + query * width, scores = queries.Scores + query * Chunk + at;
            int token = 0;
            for (; token + 4 <= run.Count; token += 4)
            {
                T* k0 = run.Keys + token * run.Stride, k1 = k0 + run.Stride, k2 = k1 + run.Stride, k3 = k2 + run.Stride;
                TLanes e0 = default, o0 = default, e1 = default, o1 = default, e2 = default, o2 = default, e3 = default, o3 = default;
                for (int d = 0; d < width; d += Product.Step)
                {
                    TLanes even = TLanes.Load(q + d), odd = TLanes.Load(q + d + 16);
                    e0 = TLanes.Fma(TElement.First<TLanes>(k0 + d), even, e0);
                    o0 = TLanes.Fma(TElement.Second<TLanes>(k0 + d), odd, o0);
                    e1 = TLanes.Fma(TElement.First<TLanes>(k1 + d), even, e1);
                    o1 = TLanes.Fma(TElement.Second<TLanes>(k1 + d), odd, o1);
                    e2 = TLanes.Fma(TElement.First<TLanes>(k2 + d), even, e2);
                    o2 = TLanes.Fma(TElement.Second<TLanes>(k2 + d), odd, o2);
                    e3 = TLanes.Fma(TElement.First<TLanes>(k3 + d), even, e3);
                    o3 = TLanes.Fma(TElement.Second<TLanes>(k3 + d), odd, o3);
                }
                TLanes.Sum4(TLanes.Add(e0, o0), TLanes.Add(e1, o1), TLanes.Add(e2, o2), TLanes.Add(e3, o3)).Store(scores + token);
            }
            for (; token < run.Count; token++)
            {
                T* k = run.Keys + token * run.Stride;
                TLanes even = default, odd = default;
                for (int d = 0; d < width; d += Product.Step)
                {
                    even = TLanes.Fma(TElement.First<TLanes>(k + d), TLanes.Load(q + d), even);
                    odd = TLanes.Fma(TElement.Second<TLanes>(k + d), TLanes.Load(q + d + 16), odd);
                }
                scores[token] = TLanes.Sum(TLanes.Add(even, odd));
            }
        }
    }

    static void Cap(Span<float> scores, float scale, float cap)
    {
        foreach (ref float score in scores)
        {
            score = cap * MathF.Tanh(scale * score / cap);
        }
    }

    // This chunk's scores of one query to weights, and what the chunk before left to the sums.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Weigh(in Attention a, int row, int from, int query, ref Queries queries)
    {
        (int sinks, int start, int end) = a.Sees(row);
        Span<float> scores = new(queries.Scores + query * Chunk, Chunk);
        // What the row does not see weighs nothing: -infinity before the exponential.
        int sinksEnd = Math.Clamp(sinks - from, 0, Chunk);
        int low = Math.Clamp(start - from, 0, Chunk), high = Math.Clamp(end - from, low, Chunk);
        float scoreScale = a.Mask.Scale;
        if (a.Mask.Cap > 0)
        {
            Cap(scores[..sinksEnd], scoreScale, a.Mask.Cap);
            Cap(scores[low..high], scoreScale, a.Mask.Cap);
            scoreScale = 1;
        }
        scores[sinksEnd..low].Fill(float.NegativeInfinity);
        scores[high..].Fill(float.NegativeInfinity);

        float* s = queries.Scores + query * Chunk;
        TLanes scale = TLanes.All(scoreScale), largest = TLanes.All(float.NegativeInfinity);
        for (int token = 0; token < Chunk; token += 16)
        {
            TLanes scaled = TLanes.Multiply(TLanes.Load(s + token), scale);
            TLanes.Store(scaled, s + token);
            largest = TLanes.Max(largest, scaled);
        }
        float chunkMaximum = TLanes.Largest(largest), maximum = queries.Maxima[query];
        float keep = 1, sum = 0;
        if (chunkMaximum > float.NegativeInfinity || float.IsNaN(chunkMaximum))
        {
            float merged = MathF.Max(maximum, chunkMaximum);
            keep = MathF.Exp(maximum - merged);
            TLanes lanes = default, less = TLanes.All(-merged);
            for (int token = 0; token < Chunk; token += 16)
            {
                TLanes weights = LaneMath.Exp(TLanes.Add(TLanes.Load(s + token), less));
                TLanes.Store(weights, s + token);
                lanes = TLanes.Add(lanes, weights);
            }
            sum = TLanes.Sum(lanes);
            queries.Maxima[query] = merged;
        }
        else
        {
            scores.Clear();
        }
        queries.Sums[query] = queries.Sums[query] * keep + sum;
        float* output = queries.Output + query * queries.Width;
        TLanes factor = TLanes.All(keep);
        for (int d = 0; d < queries.Width; d += 16)
        {
            TLanes.Store(TLanes.Multiply(TLanes.Load(output + d), factor), output + d);
        }
    }
    // output[query] += weight * value over the run's tokens, in order.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Values(in Attention a, int first, in Queries queries, in Run run, int from)
    {
        int group = a.Group;
        for (int query = 0; query < queries.Count; query += 4)
        {
            int count = Math.Min(4, queries.Count - query);
            // Rows of a tile see runs that end (and with a window begin) one token later each; what four have in common is
            // read once.
            int low = run.First, high = run.End;
            for (int i = query; i < query + count; i++)
            {
                (int l, int h) = Seen(a, first + i / group, run);
                (low, high) = (Math.Max(low, l), Math.Min(high, h));
            }
            if (count < 4 || high <= low)
            {
                low = high = run.End;
            }
            for (int i = query; i < query + count; i++)
            {
                (int l, int h) = Seen(a, first + i / group, run);
                Sum<One>(queries, i, run, l, Math.Min(h, low), from);
            }
            Sum<Four>(queries, query, run, low, high, from);
            for (int i = query; i < query + count; i++)
            {
                (int l, int h) = Seen(a, first + i / group, run);
                Sum<One>(queries, i, run, Math.Max(l, high), h, from);
            }
        }
    }

    // The part of a run that a row sees; a run is of its sinks or of its window, never of both.
    static (int Low, int High) Seen(in Attention a, int row, in Run run)
    {
        (int sinks, int start, int end) = a.Sees(row);
        return run.First < sinks ? (run.First, Math.Min(run.End, sinks)) : (Math.Max(run.First, start), Math.Min(run.End, end));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Sum<TQueries>(in Queries queries, int query, in Run run, int low, int high, int from) where TQueries : struct, ICount
    {
        if (high <= low)
        {
            return;
        }
        int width = queries.Width, d = 0;
        float* weights = queries.Scores + query * Chunk + (low - from), end = weights + (high - low);
        float* output = queries.Output + query * width;
        T* values = run.Values + (low - run.First) * run.Stride;
        if (TQueries.Value == 1)
        {
            // Two steps at a time: one query alone would wait for its own sums.
            for (; d + 2 * Product.Step <= width; d += 2 * Product.Step)
            {
                float* o = output + d;
                TLanes a = TLanes.Load(o), b = TLanes.Load(o + 16), c = TLanes.Load(o + 32), e = TLanes.Load(o + 48);
                T* v = values + d;
                for (float* w = weights; w < end; w++, v += run.Stride)
                {
                    TLanes weight = TLanes.All(*w);
                    a = TLanes.Fma(TElement.First<TLanes>(v), weight, a);
                    b = TLanes.Fma(TElement.Second<TLanes>(v), weight, b);
                    c = TLanes.Fma(TElement.First<TLanes>(v + Product.Step), weight, c);
                    e = TLanes.Fma(TElement.Second<TLanes>(v + Product.Step), weight, e);
                }
                TLanes.Store(a, o);
                TLanes.Store(b, o + 16);
                TLanes.Store(c, o + 32);
                TLanes.Store(e, o + 48);
            }
        }
        for (; d < width; d += Product.Step)
        {
            float* o0 = output + d, o1 = o0 + width, o2 = o1 + width, o3 = o2 + width;
            TLanes even0 = TLanes.Load(o0), odd0 = TLanes.Load(o0 + 16);
            TLanes even1 = default, odd1 = default, even2 = default, odd2 = default, even3 = default, odd3 = default;
            if (TQueries.Value == 4)
            {
                (even1, odd1) = (TLanes.Load(o1), TLanes.Load(o1 + 16));
                (even2, odd2) = (TLanes.Load(o2), TLanes.Load(o2 + 16));
                (even3, odd3) = (TLanes.Load(o3), TLanes.Load(o3 + 16));
            }
            T* v = values + d;
            for (float* w = weights; w < end; w++, v += run.Stride)
            {
                TLanes first = TElement.First<TLanes>(v), second = TElement.Second<TLanes>(v);
                TLanes weight = TLanes.All(*w);
                even0 = TLanes.Fma(first, weight, even0);
                odd0 = TLanes.Fma(second, weight, odd0);
                if (TQueries.Value == 4)
                {
                    weight = TLanes.All(w[Chunk]);
                    even1 = TLanes.Fma(first, weight, even1);
                    odd1 = TLanes.Fma(second, weight, odd1);
                    weight = TLanes.All(w[2 * Chunk]);
                    even2 = TLanes.Fma(first, weight, even2);
                    odd2 = TLanes.Fma(second, weight, odd2);
                    weight = TLanes.All(w[3 * Chunk]);
                    even3 = TLanes.Fma(first, weight, even3);
                    odd3 = TLanes.Fma(second, weight, odd3);
                }
            }
            TLanes.Store(even0, o0);
            TLanes.Store(odd0, o0 + 16);
            if (TQueries.Value == 4)
            {
                TLanes.Store(even1, o1);
                TLanes.Store(odd1, o1 + 16);
                TLanes.Store(even2, o2);
                TLanes.Store(odd2, o2 + 16);
                TLanes.Store(even3, o3);
                TLanes.Store(odd3, o3 + 16);
            }
        }
    }
}
