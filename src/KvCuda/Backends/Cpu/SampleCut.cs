using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// What top-k and top-p leave: the ids with a logit above <see cref="Logit"/>, and of those equal to it the ones up to
/// <see cref="LastId"/>.
///
/// It is found without sorting the row. One pass adds up ids and weights by bucket (<see cref="SampleWeights.BucketOf(float)"/>);
/// the bucket in which the k-th id, or the p-th share, lies is cut in finer buckets until few ids are left to be sorted.
/// </summary>
/// <param name="Logit">the smallest that is kept</param>
/// <param name="LastId">the highest id that is kept with it</param>
internal readonly unsafe record struct SampleCut(float Logit, int LastId)
{
    /// <summary>So few candidates are sorted.</summary>
    const int Few = 512;

    const int FineBuckets = 1024;

    /// <summary>Keeps every id.</summary>
    public static readonly SampleCut Everything = new(float.NegativeInfinity, int.MaxValue);

    public bool Keeps(float logit, int id) => logit > Logit || (logit == Logit && id <= LastId);

    /// <summary>Ids and weight, of a bucket or of several.</summary>
    [StructLayout(LayoutKind.Sequential)]
    struct Amount
    {
        public long Weight, Ids;
    }

    /// <summary>The cut of a row.</summary>
    public static SampleCut Of(in SampleLogits row, in SampleWeights weights, in SampleRow how)
    {
        bool topK = how.TopK > 0 && how.TopK < row.Count, topP = how.TopP < 1;
        if (!topK && !topP)
        {
            return Everything;
        }
        const int table = SampleWeights.Buckets * 4; // in f32, of Amount
        using Scratch memory = new(2 * table);
        memory.Span.Clear();
        Amount* buckets = (Amount*)memory.Address;
        float lowest = topK ? LowestOfTop(row, how.TopK) : float.NegativeInfinity;
        Count(row, weights, lowest, buckets, buckets + SampleWeights.Buckets);
        SampleCut cut = Everything;
        int last = SampleWeights.Buckets - 1;
        if (topK)
        {
            Amount above = default;
            for (last = 0; last < SampleWeights.Buckets - 1 && above.Ids + buckets[last].Ids < how.TopK; last++)
            {
                above.Ids += buckets[last].Ids;
                above.Weight += buckets[last].Weight;
            }
            // The last bucket has no weight: it makes no difference where it is cut.
            if (last < SampleWeights.Buckets - 1)
            {
                var counted = new SampleCut(lowest, int.MaxValue);
                cut = Within(row, weights, counted, last, buckets[last].Ids, how.TopK - above.Ids, byWeight: false, out long kept);
                buckets[last].Weight = kept;
            }
        }
        if (topP)
        {
            long total = 0, above = 0;
            for (int bucket = 0; bucket <= last; bucket++)
            {
                total += buckets[bucket].Weight;
            }
            long bound = how.ShareOf(total);
            int place = 0;
            for (; above + buckets[place].Weight < bound; place++)
            {
                above += buckets[place].Weight;
            }
            cut = Within(row, weights, cut, place, buckets[place].Ids, bound - above, byWeight: true, out _);
        }
        return cut;
    }

    // At least k ids have this logit or a larger one: the k-th largest of the blocks' largest.
    static float LowestOfTop(in SampleLogits row, int k)
    {
        if (k > row.Blocks)
        {
            return float.NegativeInfinity;
        }
        using Scratch memory = new(row.Blocks);
        new ReadOnlySpan<float>(row.BlockLargest, row.Blocks).CopyTo(memory.Span);
        memory.Span.Sort();
        return memory.Span[row.Blocks - k];
    }

    // Ids and weights by bucket; of ids below the lowest, and of those without weight, not all. Two tables, so that neighbours of one bucket do not wait
    // for each other.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Count(in SampleLogits row, in SampleWeights weights, float lowest, Amount* even, Amount* odd)
    {
        Vector256<float> edge = Vector256.Create(lowest);
        int* places = stackalloc int[8];
        long* amounts = stackalloc long[8];
        for (int block = 0; block < row.Blocks; block++)
        {
            if (row.BlockLargest[block] < lowest)
            {
                continue;
            }
            int id = block * SampleKernel.Block, end = Math.Min(id + SampleKernel.Block, row.Count);
            for (; id + 8 <= end; id += 8)
            {
                Vector256<float> x = Vector256.Load(row.Logits + id);
                if (!Vector256.GreaterThanOrEqualAny(x, edge))
                {
                    continue;
                }
                if (!weights.BucketAndWeights(x, out Vector256<int> buckets, out Vector256<long> low, out Vector256<long> high))
                {
                    continue;
                }
                buckets.Store(places);
                if (Vector256.EqualsAll(buckets, Vector256.Create(places[0])))
                {
                    Add(even + places[0], Vector256.Sum(low + high), 8); // as where logits are equal
                    continue;
                }
                low.Store(amounts);
                high.Store(amounts + 4);
                for (int i = 0; i < 8; i += 2)
                {
                    Add(even + places[i], amounts[i]);
                    Add(odd + places[i + 1], amounts[i + 1]);
                }
            }
            for (; id < end; id++)
            {
                Add(even + weights.BucketOf(row.Logits[id]), weights.Of(row.Logits[id]));
            }
        }
        for (int bucket = 0; bucket < SampleWeights.Buckets; bucket++)
        {
            even[bucket].Weight += odd[bucket].Weight;
            even[bucket].Ids += odd[bucket].Ids;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Add(Amount* to, long weight, long ids = 1) =>
        (Vector128.Load((long*)to) + Vector128.Create(weight, ids)).Store((long*)to);

    // Cuts within a bucket, after so many ids, or where so much weight is reached; also how much weight it keeps of it.
    static SampleCut Within(in SampleLogits row, in SampleWeights weights, in SampleCut outer, int bucket, long room, long amount,
        bool byWeight, out long kept)
    {
        using Scratch memory = new(4 * room);
        long* weightOf = (long*)memory.Address;
        float* logits = memory.Address + 2 * room;
        int* ids = (int*)(logits + room);
        int count = Gather(row, weights, outer, bucket, logits, ids);
        kept = 0;
        if (AllEqual(logits, count))
        {
            long each = weights.Of(logits[0]), most = byWeight ? (amount + each - 1) / each : amount;
            kept = most * each;
            return new(logits[0], ids[most - 1]);
        }
        Weigh(weights, logits, count, weightOf);
        while (count > Few && Narrow(weightOf, logits, ids, ref count, ref amount, ref kept, byWeight))
        {
            // Candidates are those of one finer bucket now.
        }
        return Last(weightOf, logits, ids, count, amount, ref kept, byWeight);
    }

    static bool AllEqual(float* logits, int count) => !new ReadOnlySpan<float>(logits, count).ContainsAnyExcept(logits[0]);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Weigh(in SampleWeights weights, float* logits, int count, long* weightOf)
    {
        int i = 0;
        for (; i + 8 <= count; i += 8)
        {
            weights.Of(Vector256.Load(logits + i), out Vector256<long> low, out Vector256<long> high);
            low.Store(weightOf + i);
            high.Store(weightOf + i + 4);
        }
        for (; i < count; i++)
        {
            weightOf[i] = weights.Of(logits[i]);
        }
    }

    // The bucket's ids that the outer cut keeps, ascending.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static int Gather(in SampleLogits row, in SampleWeights weights, in SampleCut outer, int bucket, float* logits, int* ids)
    {
        Vector256<int> wanted = Vector256.Create(bucket);
        Vector256<float> edge = Vector256.Create(outer.Logit);
        int count = 0;
        for (int block = 0; block < row.Blocks; block++)
        {
            if (weights.BucketOf(row.BlockLargest[block]) > bucket)
            {
                continue;
            }
            int id = block * SampleKernel.Block, end = Math.Min(id + SampleKernel.Block, row.Count);
            for (; id < end; id += 8)
            {
                int lanes = Math.Min(8, end - id);
                uint found;
                if (lanes == 8)
                {
                    Vector256<float> x = Vector256.Load(row.Logits + id);
                    found = Vector256.Equals(weights.BucketOf(x), wanted).ExtractMostSignificantBits();
                    if (found == 0xFF && id + 7 <= outer.LastId && Vector256.GreaterThanOrEqualAll(x, edge))
                    {
                        x.Store(logits + count);
                        (Vector256.Create(id) + Vector256<int>.Indices).Store(ids + count);
                        count += 8;
                        continue;
                    }
                }
                else
                {
                    found = 0;
                    for (int i = 0; i < lanes; i++)
                    {
                        found |= weights.BucketOf(row.Logits[id + i]) == bucket ? 1u << i : 0;
                    }
                }
                for (; found != 0; found &= found - 1)
                {
                    int candidate = id + BitOperations.TrailingZeroCount(found);
                    if (outer.Keeps(row.Logits[candidate], candidate))
                    {
                        logits[count] = row.Logits[candidate];
                        ids[count++] = candidate;
                    }
                }
            }
        }
        return count;
    }

    // Leaves the candidates of the finer bucket in which the cut lies, in order of id; false if that gains nothing.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static bool Narrow(long* weightOf, float* logits, int* ids, ref int count, ref long amount, ref long kept, bool byWeight)
    {
        float least = logits[0], most = logits[0];
        for (int i = 1; i < count; i++)
        {
            least = MathF.Min(least, logits[i]);
            most = MathF.Max(most, logits[i]);
        }
        float scale = (FineBuckets - 1) / (most - least);
        if (!float.IsFinite(scale))
        {
            return false; // all are equal, or nearly
        }
        using Scratch memory = new(FineBuckets * 4);
        memory.Span.Clear();
        Amount* buckets = (Amount*)memory.Address;
        for (int i = 0; i < count; i++)
        {
            Add(buckets + Fine(logits[i], most, scale), weightOf[i]);
        }
        int place = 0;
        for (; (byWeight ? buckets[place].Weight : buckets[place].Ids) < amount; place++)
        {
            amount -= byWeight ? buckets[place].Weight : buckets[place].Ids;
            kept += buckets[place].Weight;
        }
        int left = 0;
        for (int i = 0; i < count; i++)
        {
            if (Fine(logits[i], most, scale) == place)
            {
                (weightOf[left], logits[left], ids[left]) = (weightOf[i], logits[i], ids[i]);
                left++;
            }
        }
        bool gained = left < count;
        count = left;
        return gained;
    }

    static int Fine(float logit, float most, float scale) => Math.Min((int)((most - logit) * scale), FineBuckets - 1);

    static SampleCut Last(long* weightOf, float* logits, int* ids, int count, long amount, ref long kept, bool byWeight)
    {
        using Scratch memory = new(2L * count);
        var order = new Span<ulong>(memory.Address, count);
        for (int i = 0; i < count; i++)
        {
            // Larger logits first (their bits, made to ascend as they fall), then lower ids: candidates are in their order.
            uint bits = BitConverter.SingleToUInt32Bits(logits[i] + 0f);
            order[i] = (ulong)((bits >> 31) != 0 ? bits : ~(bits | 0x8000_0000)) << 32 | (uint)i;
        }
        order.Sort();
        int last = 0;
        for (int place = 0; place < count; place++)
        {
            last = (int)(uint)order[place];
            kept += weightOf[last];
            amount -= byWeight ? weightOf[last] : 1;
            if (amount <= 0)
            {
                break;
            }
        }
        return new(logits[last], ids[last]);
    }
}
