using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// A few rows: each weight row is read once from memory, in place, one stream per thread. More rows than registers hold sums
/// for take turns over some weight rows at a time, which the first of them left in the L1 cache.
///
/// y[r,o] = Sum(E + O), E = Σ over steps of first group of x times first group of w, O the same of the second groups, each
/// step one fused multiply-add per lane, steps ascending (<see cref="Product.Step"/>, <see cref="ILanes{TSelf}.Sum"/>).
/// Two chains per row look few, but the processor begins the next weight row before the sums of this one are done.
/// </summary>
internal static unsafe class MatvecKernel<TLanes, T, TElement>
    where TLanes : struct, ILanes<TLanes> where T : unmanaged where TElement : IElement<T>
{
    // Rows whose sums the registers hold.
    static int TurnRows => TLanes.HasManyRegisters ? 4 : 2;

    // Weights of a turn: with the rows of x that meet them, half of a 32 KB L1 cache.
    const int TurnBytes = 8 * 1024;

    /// <summary>
    /// Most rows. With AVX2 (2048 x 768 bf16, one thread) three to six rows took 0.6 to 0.9 of the tiled kernel's time, seven and
    /// eight the same. With AVX-512 by counting loads: four rows take 10 for 32 weights, so 12 rows take 30, as many as the tiled
    /// kernel with its packing; not yet measured.
    /// </summary>
    public static int MaxRows => TLanes.HasManyRegisters ? 12 : 8;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Share(void* argument, int share, int shares)
    {
        ref Product p = ref *(Product*)argument;
        (int start, int end) = ThreadTeam.Share(p.Outputs, share, shares);
        int turns = (p.Rows + TurnRows - 1) / TurnRows;
        int together = turns == 1 ? end - start : Math.Max(1, TurnBytes / (p.Inputs * sizeof(T)));
        for (int output = start; output < end; output += together)
        {
            int last = Math.Min(output + together, end);
            for (int turn = 0; turn < turns; turn++)
            {
                (int row, int next) = ThreadTeam.Share(p.Rows, turn, turns); // as equal as can be
                switch (next - row)
                {
                    case 1:
                        Outputs<One>(p, row, output, last);
                        break;
                    case 2:
                        Outputs<Two>(p, row, output, last);
                        break;
                    case 3:
                        Outputs<Three>(p, row, output, last);
                        break;
                    default:
                        Outputs<Four>(p, row, output, last);
                        break;
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Outputs<TRows>(in Product p, int firstRow, int start, int end) where TRows : struct, ICount
    {
        int whole = p.Inputs / Product.Step, tail = p.Inputs % Product.Step, width = p.Steps * Product.Step;
        T* padded = stackalloc T[Product.Step]; // zeros, but for the last inputs of a row
        float* sums = stackalloc float[2 * 4 * 16]; // [row][first group, second group]
        float* lanes = p.Lanes + (long)firstRow * width;
        T* w = (T*)p.Weight + (long)start * p.Inputs;
        for (int output = start; output < end; output++)
        {
            Steps<TRows>(w, lanes, width, whole, sums, carryOn: false);
            if (tail > 0)
            {
                // The last inputs mod 32 numbers, padded with zeros, take one more step like all others.
                Unsafe.CopyBlockUnaligned(padded, w + (long)whole * Product.Step, (uint)(tail * sizeof(T)));
                Steps<TRows>(padded, lanes + whole * Product.Step, width, 1, sums, carryOn: true);
            }
            for (int row = 0; row < TRows.Value; row++)
            {
                p.Put(firstRow + row, output, TLanes.Sum(TLanes.Add(TLanes.Load(sums + 32 * row), TLanes.Load(sums + 32 * row + 16))));
            }
            w += p.Inputs;
        }
    }

    // note: apart from its caller, because a method that calls another keeps sums that outlive the call on the stack, also in its
    // loop: stored and loaded in every step, they made it 1.7 times slower.
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    static void Steps<TRows>(T* w, float* x, int width, int steps, float* sums, bool carryOn) where TRows : struct, ICount
    {
        float* x1 = x + width, x2 = x1 + width, x3 = x2 + width;
        TLanes even0 = default, odd0 = default, even1 = default, odd1 = default;
        TLanes even2 = default, odd2 = default, even3 = default, odd3 = default;
        if (carryOn)
        {
            even0 = TLanes.Load(sums);
            odd0 = TLanes.Load(sums + 16);
            if (TRows.Value > 1)
            {
                even1 = TLanes.Load(sums + 32);
                odd1 = TLanes.Load(sums + 48);
            }
            if (TRows.Value > 2)
            {
                even2 = TLanes.Load(sums + 64);
                odd2 = TLanes.Load(sums + 80);
            }
            if (TRows.Value > 3)
            {
                even3 = TLanes.Load(sums + 96);
                odd3 = TLanes.Load(sums + 112);
            }
        }
        for (long k = 0, end = (long)steps * Product.Step; k < end; k += Product.Step, w += Product.Step)
        {
            Prefetch(w);
            TLanes first = TElement.First<TLanes>(w), second = TElement.Second<TLanes>(w);
            even0 = TLanes.Fma(first, TLanes.Load(x + k), even0);
            odd0 = TLanes.Fma(second, TLanes.Load(x + k + 16), odd0);
            if (TRows.Value > 1)
            {
                even1 = TLanes.Fma(first, TLanes.Load(x1 + k), even1);
                odd1 = TLanes.Fma(second, TLanes.Load(x1 + k + 16), odd1);
            }
            if (TRows.Value > 2)
            {
                even2 = TLanes.Fma(first, TLanes.Load(x2 + k), even2);
                odd2 = TLanes.Fma(second, TLanes.Load(x2 + k + 16), odd2);
            }
            if (TRows.Value > 3)
            {
                even3 = TLanes.Fma(first, TLanes.Load(x3 + k), even3);
                odd3 = TLanes.Fma(second, TLanes.Load(x3 + k + 16), odd3);
            }
        }
        TLanes.Store(even0, sums);
        TLanes.Store(odd0, sums + 16);
        if (TRows.Value > 1)
        {
            TLanes.Store(even1, sums + 32);
            TLanes.Store(odd1, sums + 48);
        }
        if (TRows.Value > 2)
        {
            TLanes.Store(even2, sums + 64);
            TLanes.Store(odd2, sums + 80);
        }
        if (TRows.Value > 3)
        {
            TLanes.Store(even3, sums + 96);
            TLanes.Store(odd3, sums + 112);
        }
    }

    // The processor's own prefetchers stop at the end of a 4 KB page; asking a page and a half ahead took one thread's stream from
    // 15 to 21 GB/s where plain reading reaches 26 (5632 x 2048 bf16, 2 threads). Past the end it asks for nothing harmful.
    const int Ahead = 6 * 1024;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Prefetch(T* w)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0((byte*)w + Ahead);
            if (Product.Step * sizeof(T) > 64)
            {
                Sse.Prefetch0((byte*)w + Ahead + 64);
            }
        }
    }
}
