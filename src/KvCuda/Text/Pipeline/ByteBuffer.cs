namespace KvCuda.Text.Pipeline;

/// <summary>A growing run of UTF-8.</summary>
sealed class ByteBuffer
{
    byte[] bytes = new byte[256];

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Span => bytes.AsSpan(0, Length);

    public void Clear() => Length = 0;

    public void Add(ReadOnlySpan<byte> more)
    {
        more.CopyTo(Reserve(more.Length));
        Length += more.Length;
    }

    public void Add(byte more)
    {
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

    public void Advance(int written) => Length += written;
}
