namespace KvCuda.Text.Pipeline;

/// <summary>A growing run of UTF-8.</summary>
/// <param name="budget">what is added is charged to it; null: unbounded, for text whose length is known</param>
sealed class ByteBuffer(TextBudget? budget = null)
{
    byte[] bytes = new byte[256];

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Span => bytes.AsSpan(0, Length);

    public TextBudget? Budget => budget;

    public void Clear() => Length = 0;

    public void Add(ReadOnlySpan<byte> more)
    {
        budget?.Charge(more.Length);
        more.CopyTo(Reserve(more.Length));
        Length += more.Length;
    }

    public void Add(byte more)
    {
        budget?.Charge(1);
        Reserve(1)[0] = more;
        Length++;
    }

    /// <summary>Room for so many more bytes; <see cref="Advance"/> says how many were written.</summary>
    public Span<byte> Reserve(int more)
    {
        if (bytes.Length - Length < more)
        {
            Array.Resize(ref bytes, checked((int)Math.Min(Array.MaxLength, Math.Max((long)Length + more, bytes.Length * 2L))));
        }

        return bytes.AsSpan(Length);
    }

    public void Advance(int written)
    {
        budget?.Charge(written);
        Length += written;
    }
}
