namespace KvCuda.KvStore;

/// <summary>The bytes of the device's arena, wherever it lives: what snapshots read from and write to.</summary>
internal interface IKvBytes
{
    /// <summary>destination = the arena's bytes from <paramref name="offset"/> on.</summary>
    void Read(long offset, Span<byte> destination);

    /// <summary>The arena's bytes from <paramref name="offset"/> on = source.</summary>
    void Write(long offset, ReadOnlySpan<byte> source);

    /// <summary>Does what the store decided, in order and before whatever is read or written later.</summary>
    void Play(PageCopies copies);
}
