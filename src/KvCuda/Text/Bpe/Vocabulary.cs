using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KvCuda.Text.Bpe;

/// <summary>Tokens as UTF-8 bytes, to ids and back: one blob, one open-addressed table.</summary>
/// <remarks>
/// A quarter of a million tokens, and half a million merges that look up three tokens each, are read while someone waits: what
/// a look-up needs sits in one 16-byte slot, and the hot methods are compiled at full strength at once.
/// </remarks>
sealed class Vocabulary
{
    /// <summary>Ids index arrays; a file that asks for more than this is refused before anything is allocated.</summary>
    public const int MaxId = 1 << 24;

    // A hostile file cannot know it, so it cannot choose tokens that collide.
    static readonly ulong Seed = (ulong)Random.Shared.NextInt64() | 1;

    byte[] blob = new byte[1 << 20];
    int blobLength;
    Slot[] slots = new Slot[1 << 13];
    int[] offsets = new int[1 << 12]; // of each token, in the order they came
    int[] ids = new int[1 << 12];
    int[] tokenOfId = [];             // token index + 1, 0 = no such id

    struct Slot
    {
        public uint Hash;
        public int Offset;
        public int Length;
        public int Token; // its index + 1, 0 = free
    }

    /// <summary>Distinct tokens.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes of the longest token.</summary>
    public int LongestToken { get; private set; }

    /// <summary>One more than the largest id.</summary>
    public int IdLimit { get; private set; }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Add(ReadOnlySpan<byte> token, int id)
    {
        uint hash = (uint)Hash(token);
        ref Slot slot = ref Find(token, hash);
        if (slot.Token != 0)
        {
            ids[slot.Token - 1] = id; // a repeated key: the last one counts, as in any JSON map
        }
        else
        {
            if (Count == ids.Length)
            {
                Array.Resize(ref ids, Count * 2);
                Array.Resize(ref offsets, Count * 2);
            }

            if (blob.Length - blobLength < token.Length)
            {
                Array.Resize(ref blob, checked((int)Math.Min(Array.MaxLength, ((long)blobLength + token.Length) * 2)));
            }

            token.CopyTo(blob.AsSpan(blobLength));
            offsets[Count] = blobLength;
            ids[Count] = id;
            slot = new Slot { Hash = hash, Offset = blobLength, Length = token.Length, Token = ++Count };
            blobLength += token.Length;
            if (Count * 2 > slots.Length)
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
        tokenOfId = new int[IdLimit];
        for (int i = 0; i < Count; i++)
        {
            tokenOfId[ids[i]] = i + 1;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool TryGetId(ReadOnlySpan<byte> token, out int id)
    {
        int found = Find(token, (uint)Hash(token)).Token;
        id = found == 0 ? -1 : ids[found - 1];
        return found != 0;
    }

    /// <summary>Looks a token up, but looks first at the token that came as number <paramref name="guess"/>.</summary>
    /// <remarks>Merges are listed in the order of what they make: the guess is nearly always right, and always in the cache.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool TryGetId(ReadOnlySpan<byte> token, ref int guess, out int id)
    {
        for (int i = guess; i < Math.Min(guess + 2, Count); i++)
        {
            if (token.SequenceEqual(TokenAt(i, out id)))
            {
                guess = i;
                return true;
            }
        }

        int found = Find(token, (uint)Hash(token)).Token;
        guess = found == 0 ? guess : found - 1;
        id = found == 0 ? -1 : ids[found - 1];
        return found != 0;
    }

    public bool Contains(int id) => (uint)id < (uint)tokenOfId.Length && tokenOfId[id] != 0;

    /// <summary>The token's bytes; empty if there is no such id.</summary>
    public ReadOnlySpan<byte> BytesOf(int id) => Contains(id) ? TokenAt(tokenOfId[id] - 1, out _) : default;

    /// <summary>The token that came as number <paramref name="index"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public ReadOnlySpan<byte> TokenAt(int index, out int id)
    {
        id = ids[index];
        int end = index + 1 < Count ? offsets[index + 1] : blobLength;
        return blob.AsSpan(offsets[index]..end);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    ref Slot Find(ReadOnlySpan<byte> token, uint hash)
    {
        Slot[] slots = this.slots;
        int mask = slots.Length - 1;
        int index = (int)hash & mask;
        while (true)
        {
            ref Slot slot = ref slots[index];
            if (slot.Token == 0 || (slot.Hash == hash && slot.Length == token.Length
                && token.SequenceEqual(blob.AsSpan(slot.Offset, slot.Length))))
            {
                return ref slot;
            }

            index = (index + 1) & mask;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void Grow()
    {
        var larger = new Slot[slots.Length * (slots.Length < 1 << 18 ? 4 : 2)];
        int mask = larger.Length - 1;
        foreach (ref Slot slot in slots.AsSpan())
        {
            if (slot.Token != 0)
            {
                int index = (int)slot.Hash & mask;
                while (larger[index].Token != 0)
                {
                    index = (index + 1) & mask;
                }

                larger[index] = slot;
            }
        }

        slots = larger;
    }

    /// <summary>A multiply-and-fold hash over 8 bytes at a time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static ulong Hash(ReadOnlySpan<byte> bytes)
    {
        ulong hash = Seed ^ ((ulong)bytes.Length * 0x9E3779B97F4A7C15);
        ref byte at = ref MemoryMarshal.GetReference(bytes);
        int length = bytes.Length;
        if (length >= 8)
        {
            for (int i = 0; i + 8 < length; i += 8)
            {
                hash = Fold(hash ^ Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref at, i)));
            }

            return Fold(hash ^ Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref at, length - 8)) ^ 0xD6E8FEB86659FD93);
        }

        ulong tail = 0;
        for (int i = 0; i < length; i++)
        {
            tail = (tail << 8) | Unsafe.Add(ref at, i);
        }

        return Fold(hash ^ tail ^ 0xD6E8FEB86659FD93);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong Fold(ulong value)
    {
        ulong high = Math.BigMul(value, 0xA0761D6478BD642F, out ulong low);
        return BitOperations.RotateLeft(high, 23) ^ low ^ Seed;
    }
}
