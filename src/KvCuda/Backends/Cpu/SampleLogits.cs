using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KvCuda.Backends.Cpu;

/// <summary>The logits of one row, with the largest of every <see cref="SampleKernel.Block"/> of them.</summary>
/// <param name="logits">(count)</param>
/// <param name="count">ids</param>
/// <param name="blockLargest">room for one number a block</param>
internal unsafe struct SampleLogits(float* logits, int count, float* blockLargest)
{
    public float* Logits { get; } = logits;

    public int Count { get; } = count;

    public float* BlockLargest { get; } = blockLargest;

    public readonly int Blocks => (Count + SampleKernel.Block - 1) / SampleKernel.Block;

    /// <summary>The row's largest logit.</summary>
    public float Largest { get; private set; }

    /// <summary>
    /// Finds the largest logit, of the row and of each block. False if a logit is NaN or infinite, or all are minus
    /// infinity: then there is nothing to choose. Minus infinity among others is an id that is ruled out.
    /// </summary>
    /// <param name="id">the lowest id with the largest logit</param>
    public bool FindLargest(out int id)
    {
        Largest = float.NegativeInfinity;
        int best = -1;
        for (int block = 0; block < Blocks; block++)
        {
            int start = block * SampleKernel.Block;
            float largest = LargestOf(Logits + start, Math.Min(SampleKernel.Block, Count - start));
            BlockLargest[block] = largest;
            if (!(largest <= Largest))
            {
                (Largest, best) = (largest, block); // also NaN, which ends it
                if (!(largest < float.PositiveInfinity))
                {
                    break;
                }
            }
        }
        id = -1;
        if (best < 0 || !float.IsFinite(Largest))
        {
            return false;
        }
        id = best * SampleKernel.Block;
        while (Logits[id] != Largest)
        {
            id++;
        }
        return true;
    }

    // NaN if one of them is.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static float LargestOf(float* x, int count)
    {
        float largest = float.NegativeInfinity;
        int i = 0;
        if (count >= 32)
        {
            Vector256<float> a = Vector256.Load(x), b = Vector256.Load(x + 8), c = Vector256.Load(x + 16), d = Vector256.Load(x + 24);
            // x = x is false of NaN alone.
            Vector256<float> numbers = Vector256.Equals(a, a) & Vector256.Equals(b, b) & Vector256.Equals(c, c) & Vector256.Equals(d, d);
            for (i = 32; i + 32 <= count; i += 32)
            {
                Vector256<float> e = Vector256.Load(x + i), f = Vector256.Load(x + i + 8);
                Vector256<float> g = Vector256.Load(x + i + 16), h = Vector256.Load(x + i + 24);
                numbers &= Vector256.Equals(e, e) & Vector256.Equals(f, f) & Vector256.Equals(g, g) & Vector256.Equals(h, h);
                (a, b) = (Vector256.MaxNative(a, e), Vector256.MaxNative(b, f));
                (c, d) = (Vector256.MaxNative(c, g), Vector256.MaxNative(d, h));
            }
            if (numbers.AsInt32() != Vector256<int>.AllBitsSet)
            {
                return float.NaN;
            }
            a = Vector256.MaxNative(Vector256.MaxNative(a, b), Vector256.MaxNative(c, d));
            for (int lane = 0; lane < 8; lane++)
            {
                largest = MathF.Max(largest, a[lane]);
            }
        }
        for (; i < count; i++)
        {
            largest = MathF.Max(largest, x[i]); // NaN if either is
        }
        return largest;
    }
}
