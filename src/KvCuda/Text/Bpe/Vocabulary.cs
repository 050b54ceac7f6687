using System.Buffers.Binary;
using System.Numerics;

namespace KvCuda.Text.Bpe;

/// <summary>Tokens as UTF-8 bytes, to ids and back: one blob, one open-addressed table.</summary>
sealed class Vocabulary
{
    /// <summary>Ids index arrays; a file that asks for more than this is refused before anything is allocated.</summary>
    public const int MaxId = 1 << 24;

    // A hostile file cannot know it, so it cannot choose tokens that collide.
    static readonly ulong Seed = (ulong)Random.Shared.NextInt64() | 1;

    byte[] blob = new byte[1 << 16];
    int blobLength;
    Entry[] entries = new Entry[1 << 12];
    int count;
    int[] slots = new int[1 << 13]; // entry index + 1, 0 = free
    int[] entryOfId = [];           // entry index + 1, 0 = no such id

    struct Entry
    {
        public ulong Hash;
        public int Offset;
        public int Length;
        public int Id;
    }

    /// <summary>Distinct tokens.</summary>
    public int Count => count;

    /// <summary>Bytes of the longest token.</summary>
    public int LongestToken { get; private set; }

    /// <summary>One more than the largest id.</summary>
    public int IdLimit { get; private set; }

    public void Add(ReadOnlySpan<byte> token, int id)
    {
        ulong hash = Hash(token);
        int slot = Find(token, hash);
        if (slots[slot] != 0)
        {
            entries[slots[slot] - 1].Id = id; // a repeated key: the last one counts, as in any JSON map
        }
        else
        {
            if (count == entries.Length)
            {
                Array.Resize(ref entries, count * 2);
            }

            if (blob.Length - blobLength < token.Length)
            {
                Array.Resize(ref blob, checked((int)Math.Min(Array.MaxLength, ((long)blobLength + token.Length) * 2)));
            }

            token.CopyTo(blob.AsSpan(blobLength));
            entries[count] = new Entry { Hash = hash, Offset = blobLength, Length = token.Length, Id = id };
            blobLength += token.Length;
            slots[slot] = ++count;
            if (count * 2 > slots.Length)
            {
                Grow();
            }
        }

        IdLimit = Math.Max(IdLimit, id + 1);
        LongestToken = Math.Max(LongestToken, token.Length);
    }

    /// <summary>Builds the way back from ids; called once, after the last <see cref="Add"/>.</summary>
    public void Freeze()
    {
        entryOfId = new int[IdLimit];
        for (int i = 0; i < count; i++)
        {
            entryOfId[entries[i].Id] = i + 1;
        }
    }

    public bool TryGetId(ReadOnlySpan<byte> token, out int id)
    {
        int entry = slots[Find(token, Hash(token))];
        id = entry == 0 ? -1 : entries[entry - 1].Id;
        return entry != 0;
    }

    public bool Contains(int id) => (uint)id < (uint)entryOfId.Length && entryOfId[id] != 0;

    /// <summary>The token's bytes; empty if there is no such id.</summary>
    public ReadOnlySpan<byte> BytesOf(int id)
    {
        if (!Contains(id))
        {
            return default;
        }

        ref Entry entry = ref entries[entryOfId[id] - 1];
        return blob.AsSpan(entry.Offset, entry.Length);
    }

    int Find(ReadOnlySpan<byte> token, ulong hash)
    {
        int mask = slots.Length - 1;
        int slot = (int)hash & mask;
        while (slots[slot] != 0)
        {
            ref Entry entry = ref entries[slots[slot] - 1];
            if (entry.Hash == hash && token.SequenceEqual(blob.AsSpan(entry.Offset, entry.Length)))
            {
                break;
            }

            slot = (slot + 1) & mask;
        }

        return slot;
    }

    void Grow()
    {
        slots = new int[slots.Length * 2];
        int mask = slots.Length - 1;
        for (int i = 0; i < count; i++)
        {
            int slot = (int)entries[i].Hash & mask;
            while (slots[slot] != 0)
            {
                slot = (slot + 1) & mask;
            }

            slots[slot] = i + 1;
        }
    }

    /// <summary>A multiply-and-fold hash over 8 bytes at a time.</summary>
    public static ulong Hash(ReadOnlySpan<byte> bytes)
    {
        ulong hash = Seed ^ ((ulong)bytes.Length * 0x9E3779B97F4A7C15);
        while (bytes.Length >= 8)
        {
            hash = Fold(hash ^ BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            bytes = bytes[8..];
        }

        ulong tail = 0;
        foreach (byte b in bytes)
        {
            tail = (tail << 8) | b;
        }

        return Fold(hash ^ tail ^ 0xD6E8FEB86659FD93);
    }

    static ulong Fold(ulong value)
    {
        ulong high = Math.BigMul(value, 0xA0761D6478BD642F, out ulong low);
        return BitOperations.RotateLeft(high, 23) ^ low ^ Seed;
    }
}
