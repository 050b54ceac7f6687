using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>Rows into pages: addresses as <see cref="KvView"/> states them, K and V rounded to the store's type.</summary>
internal static unsafe class KvKernels
{
    /// <summary>A <see cref="KvView"/> as plain pointers.</summary>
    internal readonly struct Pages(in KvView kv)
    {
        readonly byte* arena = (byte*)kv.Arena;
        readonly long layerOffset = kv.LayerOffset;
        public readonly KvPageShape Shape = kv.Shape.Order == KvOrder.Linear
            ? kv.Shape
            : throw new InvalidOperationException("The CPU's kernels read linear pages only.");
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
            return arena + Shape.KeyOffset(page, layerOffset, head, position % PageTokens);
        }

        /// <summary>Elements from a key to its value.</summary>
        public long ValueOffset => Shape.ValueBytes / Type.Bytes();
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
                // What was there is looked at only if somebody asks: reading untouched memory costs a page fault, and writing it then another.
                changed |= a.Changed != null && (Differs<T, TElement>(k, sourceK, headDim) || Differs<T, TElement>(v, sourceV, headDim));
                Put<T, TElement>(k, sourceK, headDim);
                Put<T, TElement>(v, sourceV, headDim);
            }
            if (changed)
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

    static void Put<T, TElement>(T* destination, float* source, int count) where T : unmanaged where TElement : IElement<T>
    {
        int i = 0;
        if (typeof(T) == typeof(ushort))
        {
            for (; i + 16 <= count; i += 16)
            {
                Vector256.Narrow(RoundedBF16(source + i), RoundedBF16(source + i + 8)).Store((ushort*)destination + i);
            }
        }
        for (; i < count; i++)
        {
            destination[i] = TElement.Round(source[i]);
        }
    }

    // BF16.FromSingle of eight.
    static Vector256<uint> RoundedBF16(float* source)
    {
        Vector256<float> x = Vector256.Load(source);
        Vector256<uint> bits = x.AsUInt32(), upper = Vector256.ShiftRightLogical(bits, 16);
        Vector256<uint> rounded = Vector256.ShiftRightLogical(bits + Vector256.Create(0x7FFFu) + (upper & Vector256.Create(1u)), 16);
        return Vector256.ConditionalSelect(Vector256.Equals(x, x).AsUInt32(), rounded, Vector256.Create(0x7FFFu));
    }

    // Bits are compared, not values: -0 is not 0, and a NaN equals itself.
    static bool Differs<T, TElement>(T* stored, float* source, int count) where T : unmanaged where TElement : IElement<T>
    {
        for (int i = 0; i < count; i++)
        {
            T value = TElement.Round(source[i]);
            if (sizeof(T) == 4 ? *(int*)&value != ((int*)stored)[i] : *(short*)&value != ((short*)stored)[i])
            {
                return true;
            }
        }
        return false;
    }
}
