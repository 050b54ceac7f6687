namespace KvCuda.Text.Bpe;

/// <summary>Receives ids, and, if asked for, how many bytes of the normalised text each of them covers.</summary>
sealed class TokenSink(bool withLengths)
{
    public int[] Ids = new int[64];
    public int[] Lengths = withLengths ? new int[64] : [];
    public int Count;

    public bool WithLengths => withLengths;

    public void Add(int id, int length)
    {
        if (Count == Ids.Length)
        {
            Array.Resize(ref Ids, Count * 2);
            if (withLengths)
            {
                Array.Resize(ref Lengths, Count * 2);
            }
        }

        if (withLengths)
        {
            Lengths[Count] = length;
        }

        Ids[Count++] = id;
    }

    public void AddRange(ReadOnlySpan<int> ids)
    {
        if (Ids.Length - Count < ids.Length)
        {
            Array.Resize(ref Ids, Math.Max(Count * 2, Count + ids.Length));
        }

        ids.CopyTo(Ids.AsSpan(Count));
        Count += ids.Length;
    }
}
