using System.Numerics;
using System.Runtime.CompilerServices;

namespace KvCuda.Text.Bpe;

/// <summary>(left id, right id) to (rank, merged id): open addressing over packed pairs.</summary>
sealed class MergeTable
{
    struct Slot
    {
        public ulong Pair; // left << 32 | right, plus one: 0 = free
        public int Rank;
        public int Merged;
    }

    readonly Slot[] slots;
    readonly int mask;

    public MergeTable(int capacity)
    {
        slots = new Slot[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, Math.Min(capacity, 1 << 28) * 2))];
        mask = slots.Length - 1;
    }

    /// <summary>Number of distinct pairs.</summary>
    public int Count { get; private set; }

    /// <summary>Adds a merge; of a repeated pair the last rank counts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Set(int left, int right, int rank, int merged)
    {
        ulong pair = Pack(left, right);
        ref Slot slot = ref Find(pair);
        Count += slot.Pair == 0 ? 1 : 0;
        slot = new Slot { Pair = pair, Rank = rank, Merged = merged };
    }

    /// <summary>The merge of two symbols; a rank of -1 if there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public int Rank(int left, int right, out int merged)
    {
        ref Slot slot = ref Find(Pack(left, right));
        merged = slot.Merged;
        return slot.Pair == 0 ? -1 : slot.Rank;
    }

    /// <summary>Whether any merge joins one of these ids.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Any(ReadOnlySpan<bool> ids)
    {
        foreach (ref Slot slot in slots.AsSpan())
        {
            if (slot.Pair != 0 && (ids[(int)((slot.Pair - 1) >> 32)] || ids[(int)(uint)(slot.Pair - 1)]))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The merges that make none of these ids.</summary>
    public MergeTable Without(IReadOnlySet<int> made)
    {
        var rest = new MergeTable(Count);
        foreach (Slot slot in slots)
        {
            if (slot.Pair != 0 && !made.Contains(slot.Merged))
            {
                rest.Set((int)((slot.Pair - 1) >> 32), (int)(uint)(slot.Pair - 1), slot.Rank, slot.Merged);
            }
        }

        return rest;
    }

    static ulong Pack(int left, int right) => (((ulong)(uint)left << 32) | (uint)right) + 1;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    ref Slot Find(ulong pair)
    {
        ulong hash = pair * 0x9E3779B97F4A7C15;
        int index = (int)(hash >> 32) & mask;
        while (slots[index].Pair != 0 && slots[index].Pair != pair)
        {
            index = (index + 1) & mask;
        }

        return ref slots[index];
    }
}
