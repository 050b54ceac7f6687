using System.Runtime.CompilerServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>Rows into pages: addresses as <see cref="KvView"/> states them, K and V rounded to the store's type.</summary>
internal static unsafe class KvKernels
{
    /// <summary>A <see cref="KvView"/> as plain pointers.</summary>
    internal readonly struct Pages(in KvView kv)
    {
        public readonly byte* Layer = (byte*)kv.Arena + kv.LayerOffset;
        public readonly int* Table = (int*)kv.PageTable.Address;
        public readonly int TableColumns = kv.PageTable.Columns, TableRows = kv.PageTable.Rows;
        public readonly int PageTokens = kv.PageTokens, KvHeads = kv.KvHeads, HeadDim = kv.HeadDim;
        public readonly DType Type = kv.Type;

        /// <summary>Address of K[head, position] of a sequence.</summary>
        public void* Key(int sequence, int position, int head)
        {
            if ((uint)sequence >= (uint)TableRows || (uint)(position / PageTokens) >= (uint)TableColumns ||
                Table[(long)sequence * TableColumns + position / PageTokens] is var page && page < 0)
            {
                throw new InvalidOperationException(
                    $"Position {position} of sequence {sequence} has no page: it was never reserved or its window has passed.");
            }
            long element = ((long)head * PageTokens + position % PageTokens) * HeadDim;
            return Layer + (long)page * KvView.GranuleBytes + element * Type.Bytes();
        }

        /// <summary>Elements from a key to its value.</summary>
        public long ValueOffset => (long)KvHeads * PageTokens * HeadDim;
    }

    internal struct Arguments
    {
        public Pages Kv;
        public float* K;        // (rows, kvHeads * headDim)
        public float* V;        // (rows, kvHeads * headDim)
        public int* Positions;  // (rows)
        public int* Sequences;  // (rows)
        public int* Changed;    // (rows), or null
        public int Rows;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store<T, TElement>(void* argument, int member, int members)
        where T : unmanaged where TElement : IElement<T>
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        int headDim = a.Kv.HeadDim, width = a.Kv.KvHeads * headDim;
        for (int row = start; row < end; row++)
        {
            if (a.Sequences[row] < 0)
            {
                continue;
            }
            bool changed = false;
            for (int head = 0; head < a.Kv.KvHeads; head++)
            {
                T* k = (T*)a.Kv.Key(a.Sequences[row], a.Positions[row], head);
                T* v = k + a.Kv.ValueOffset;
                float* sourceK = a.K + (long)row * width + head * headDim;
                float* sourceV = a.V + (long)row * width + head * headDim;
                for (int i = 0; i < headDim; i++)
                {
                    changed |= Put(k + i, TElement.Round(sourceK[i]));
                    changed |= Put(v + i, TElement.Round(sourceV[i]));
                }
            }
            if (changed && a.Changed != null)
            {
                a.Changed[row] = 1;
            }
        }
    }

    public static void Zero<T>(in Arguments a) where T : unmanaged
    {
        for (int row = 0; row < a.Rows; row++)
        {
            for (int head = 0; a.Sequences[row] >= 0 && head < a.Kv.KvHeads; head++)
            {
                T* k = (T*)a.Kv.Key(a.Sequences[row], a.Positions[row], head);
                new Span<T>(k, a.Kv.HeadDim).Clear();
                new Span<T>(k + a.Kv.ValueOffset, a.Kv.HeadDim).Clear();
            }
        }
    }

    // Bits are compared, not values: -0 is not 0, and a NaN equals itself.
    static bool Put<T>(T* destination, T value) where T : unmanaged
    {
        bool same = sizeof(T) == 4
            ? *(int*)destination == *(int*)&value
            : *(short*)destination == *(short*)&value;
        *destination = value;
        return !same;
    }
}
