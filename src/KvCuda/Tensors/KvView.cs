namespace KvCuda.Tensors;

/// <summary>
/// Where the keys and values of one owning layer live: pages in the store's arena, each with the layer's part at
/// <see cref="LayerOffset"/> in the form of <see cref="Shape"/>. Made by KvLayout.ViewOf.
///
/// The number at (sequence, j) of the page table is the address of the page that holds tokens [j P, (j+1) P) of that
/// sequence, in granules of <see cref="KvPageShape.GranuleBytes"/> from the arena's start; -1 where there is none.
/// </summary>
/// <param name="Arena">address of the arena's first byte</param>
/// <param name="LayerOffset">bytes from a page's start to this layer's keys</param>
/// <param name="Shape">where numbers lie from there</param>
/// <param name="Type">f32, f16 or bf16</param>
/// <param name="PageTable">(sequences, pages) i32</param>
internal readonly record struct KvView(nint Arena, long LayerOffset, KvPageShape Shape, DType Type, Tensor PageTable)
{
    /// <summary>Tokens per page, a power of two.</summary>
    public int PageTokens => Shape.PageTokens;

    /// <summary>Key/value heads.</summary>
    public int KvHeads => Shape.KvHeads;

    /// <summary>Numbers per head, even.</summary>
    public int HeadDim => Shape.HeadDim;
}
