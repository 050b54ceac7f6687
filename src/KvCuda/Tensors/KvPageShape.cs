// The arithmetic of the key/value store: where a number lies within one layer's part of a page.
namespace KvCuda.Tensors;

/// <summary>How the rows of a page lie in memory. Only <see cref="Linear"/> ever leaves the device.</summary>
internal enum KvOrder
{
    /// <summary>A token's numbers of one head lie in order.</summary>
    Linear,

    /// <summary>
    /// The 16-byte pieces of a token's row are exchanged by a pattern that changes from token to token, so that a kernel which
    /// copies a page in bulk reads one piece of eight tokens from eight different banks (<see cref="KvPageShape.Piece"/>).
    /// </summary>
    Swizzled,
}

/// <summary>Key/value heads of a layer, and numbers per head.</summary>
internal readonly record struct KvHeadShape(int Heads, int Dim);

/// <summary>
/// One layer's part of a page, [K|V][kv head][token][head dim]: one head's keys of one page are one contiguous run. This is the
/// only place that computes byte offsets in the store; kernels/shared/kv_layout.cuh is proven equal when kernels compile.
/// </summary>
/// <param name="PageTokens">tokens per page, a power of two</param>
/// <param name="KvHeads">key/value heads</param>
/// <param name="HeadDim">numbers per head</param>
/// <param name="ElementBits">4, 8, 16 or 32; a row of <paramref name="HeadDim"/> elements is a whole number of bytes</param>
/// <param name="Order">how a row's pieces lie</param>
internal readonly record struct KvPageShape(
    int PageTokens, int KvHeads, int HeadDim, int ElementBits, KvOrder Order = KvOrder.Linear)
{
    /// <summary>Bytes of the unit in which page tables count.</summary>
    public const int GranuleBytes = 128;

    /// <summary>Bytes of the pieces that <see cref="KvOrder.Swizzled"/> exchanges.</summary>
    public const int PieceBytes = 16;

    /// <summary>Bytes of one head of one token.</summary>
    public int RowBytes => HeadDim * ElementBits / 8;

    /// <summary>Bytes from the first to the next head.</summary>
    public long HeadBytes => (long)PageTokens * RowBytes;

    /// <summary>Bytes from a layer's keys to its values.</summary>
    public long ValueBytes => KvHeads * HeadBytes;

    /// <summary>Bytes of the layer's part of a page: keys and values.</summary>
    public long LayerBytes => 2 * ValueBytes;

    /// <summary>Bytes of keys and values of one token of the layer.</summary>
    public long TokenBytes => 2L * KvHeads * RowBytes;

    /// <summary>Bytes from the layer's part to K[head, token of the page].</summary>
    public long KeyOffset(int head, int token) => head * HeadBytes + (long)token * RowBytes;

    /// <summary>Bytes from the arena to K[head, token of the page].</summary>
    /// <param name="page">the page table's entry, in granules</param>
    /// <param name="layerOffset">bytes from a page's start to the layer's part</param>
    /// <param name="head">key/value head</param>
    /// <param name="token">token of the page</param>
    public long KeyOffset(int page, long layerOffset, int head, int token) =>
        (long)page * GranuleBytes + layerOffset + KeyOffset(head, token);

    /// <summary>Whether its rows can be swizzled: they are an even number of whole pieces.</summary>
    public bool CanSwizzle => HeadDim * ElementBits % (8 * 2 * PieceBytes) == 0;

    /// <summary>
    /// Where piece <paramref name="piece"/> of a token's row lies, in pieces from the row's start. With n pieces in a row and
    /// m = gcd(n, 8), it is piece xor (token * m / 8 mod m): every token of a run of eight has another bank for the same piece.
    /// It is its own inverse.
    /// </summary>
    public int Piece(int token, int piece)
    {
        if (Order == KvOrder.Linear)
        {
            return piece;
        }
        int pieces = RowBytes / PieceBytes, apart = Math.Min(8, pieces & -pieces);
        return piece ^ (token * apart / 8 & (apart - 1));
    }

    /// <summary>The same page in another order.</summary>
    public KvPageShape In(KvOrder order) => this with { Order = order == KvOrder.Swizzled && CanSwizzle ? order : KvOrder.Linear };
}
