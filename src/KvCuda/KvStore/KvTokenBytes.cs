using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// The converter between a page in the device's order and the linear form, the only one that leaves the device (snapshots,
/// codecs, tiers). A token alone, in the order that knows no pages, is [owner][K|V][kv head][head dim].
/// </summary>
internal readonly struct KvTokenBytes(KvPageShape shape, int owners)
{
    readonly int runs = owners * 2 * shape.KvHeads;

    public KvTokenBytes(KvLayout layout, int pageClass)
        : this(layout.Classes[pageClass].Shape, layout.Classes[pageClass].Owners.Count)
    {
    }

    /// <summary>Bytes of one token.</summary>
    public int Bytes => runs * shape.RowBytes;

    /// <summary>token = what the page holds of it.</summary>
    public void Gather(Span<byte> token, ReadOnlySpan<byte> page, int tokenInPage)
    {
        int row = shape.RowBytes;
        for (int r = 0; r < runs; r++)
        {
            Move(token.Slice(r * row, row), page.Slice(At(r, tokenInPage), row), tokenInPage);
        }
    }

    /// <summary>The page's part of a token = token.</summary>
    public void Scatter(Span<byte> page, ReadOnlySpan<byte> token, int tokenInPage)
    {
        int row = shape.RowBytes;
        for (int r = 0; r < runs; r++)
        {
            Move(page.Slice(At(r, tokenInPage), row), token.Slice(r * row, row), tokenInPage);
        }
    }

    // Runs follow each other as heads do: [owner][K|V][kv head].
    int At(int run, int token) => checked((int)shape.KeyOffset(run, token));

    // Exchanging pieces is its own inverse, so one direction serves both.
    void Move(Span<byte> to, ReadOnlySpan<byte> from, int token)
    {
        if (shape.Order == KvOrder.Linear)
        {
            from.CopyTo(to);
            return;
        }
        for (int piece = 0; piece < from.Length / KvPageShape.PieceBytes; piece++)
        {
            from.Slice(shape.Piece(token, piece) * KvPageShape.PieceBytes, KvPageShape.PieceBytes)
                .CopyTo(to[(piece * KvPageShape.PieceBytes)..]);
        }
    }
}
