namespace KvCuda.Tensors;

/// <summary>
/// Where the keys and values of one owning layer live: pages of <see cref="PageTokens"/> tokens in the store's arena,
/// each [layer][K|V][kv head][token][head dim], so that one head's keys of one page are one contiguous run.
///
/// The number at (sequence, j) of the page table is the address of the page that holds tokens [j P, (j+1) P) of that
/// sequence, in granules of 128 bytes from the arena's start; -1 where there is none.
/// byte address of K[head, token t] = Arena + 128 * page(t / P) + LayerOffset + ((head * P + t % P) * headDim) * bytes;
/// V lies kvHeads * P * headDim elements further.
/// </summary>
/// <param name="Arena">address of the arena's first byte</param>
/// <param name="LayerOffset">bytes from a page's start to this layer's keys</param>
/// <param name="PageTokens">tokens per page, a power of two</param>
/// <param name="KvHeads">key/value heads</param>
/// <param name="HeadDim">numbers per head, even</param>
/// <param name="Type">f32, f16 or bf16</param>
/// <param name="PageTable">(sequences, pages) i32</param>
internal readonly record struct KvView(
    nint Arena, long LayerOffset, int PageTokens, int KvHeads, int HeadDim, DType Type, Tensor PageTable)
{
    /// <summary>Bytes of the unit in which page tables count.</summary>
    public const int GranuleBytes = 128;
}
