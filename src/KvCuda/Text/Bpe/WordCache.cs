namespace KvCuda.Text.Bpe;

/// <summary>Words that were encoded before, to their ids. It forgets everything when it is full: language refills it fast.</summary>
sealed class WordCache
{
    public const int MaxWordBytes = 64;
    const int Slots = 1 << 15, MaxWords = Slots / 2, MaxIds = MaxWords * 8;

    struct Slot
    {
        public ulong Hash;
        public int Word;        // offset into words
        public int Ids;         // offset into ids
        public byte WordLength; // 0 = free
        public byte IdCount;
    }

    readonly Slot[] slots = new Slot[Slots];
    readonly byte[] words = new byte[MaxWords * 16];
    readonly int[] ids = new int[MaxIds];
    int wordBytes, idCount, count;

    public bool TryGet(ReadOnlySpan<byte> word, ulong hash, out ReadOnlySpan<int> found)
    {
        ref Slot slot = ref Find(word, hash);
        found = slot.WordLength == 0 ? default : ids.AsSpan(slot.Ids, slot.IdCount);
        return slot.WordLength != 0;
    }

    public void Add(ReadOnlySpan<byte> word, ulong hash, ReadOnlySpan<int> itsIds)
    {
        if (count == MaxWords || words.Length - wordBytes < word.Length || ids.Length - idCount < itsIds.Length)
        {
            Array.Clear(slots);
            (wordBytes, idCount, count) = (0, 0, 0);
        }

        ref Slot slot = ref Find(word, hash);
        slot = new Slot
        {
            Hash = hash, Word = wordBytes, Ids = idCount, WordLength = (byte)word.Length, IdCount = (byte)itsIds.Length,
        };
        word.CopyTo(words.AsSpan(wordBytes));
        itsIds.CopyTo(ids.AsSpan(idCount));
        wordBytes += word.Length;
        idCount += itsIds.Length;
        count++;
    }

    ref Slot Find(ReadOnlySpan<byte> word, ulong hash)
    {
        int index = (int)hash & (Slots - 1);
        while (slots[index].WordLength != 0
            && (slots[index].Hash != hash || !word.SequenceEqual(words.AsSpan(slots[index].Word, slots[index].WordLength))))
        {
            index = (index + 1) & (Slots - 1);
        }

        return ref slots[index];
    }
}
