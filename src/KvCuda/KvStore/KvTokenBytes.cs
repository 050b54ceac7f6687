using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// One token's keys and values out of a page and into one. In a page they lie [owner][K|V][kv head][token][head dim]; alone,
/// in the order that knows no pages, [owner][K|V][kv head][head dim].
/// </summary>
internal readonly struct KvTokenBytes
{
    readonly int runs;           // owners * 2 * kv heads
    readonly int runBytes;       // head dim * element bytes
    readonly int pageTokens;

    public KvTokenBytes(KvLayout layout, int pageClass)
    {
        runs = layout.Classes[pageClass].Owners.Count * 2 * layout.KvHeads;
        runBytes = layout.HeadDim * layout.Type.Bytes();
        pageTokens = layout.PageTokens;
    }

    /// <summary>Bytes of one token.</summary>
    public int Bytes => runs * runBytes;

    public void Gather(Span<byte> token, ReadOnlySpan<byte> page, int tokenInPage)
    {
        for (int r = 0; r < runs; r++)
        {
            page.Slice((r * pageTokens + tokenInPage) * runBytes, runBytes).CopyTo(token[(r * runBytes)..]);
        }
    }

    public void Scatter(Span<byte> page, ReadOnlySpan<byte> token, int tokenInPage)
    {
        for (int r = 0; r < runs; r++)
        {
            token.Slice(r * runBytes, runBytes).CopyTo(page[((r * pageTokens + tokenInPage) * runBytes)..]);
        }
    }
}
