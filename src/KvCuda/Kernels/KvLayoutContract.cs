using System.Text;

namespace KvCuda.Kernels;

/// <summary>
/// Where a number lies in a page of the key/value store, and the proof that kernels/shared/kv_layout.cuh computes the
/// same: K[head, token] of a layer is at element (head * pageTokens + token) * headDim from the layer's place in its page,
/// V lies kvHeads * pageTokens * headDim elements further, and pages are counted in granules of 128 bytes.
/// </summary>
internal static class KvLayoutContract
{
    /// <summary>The header that must agree.</summary>
    public const string Header = "shared/kv_layout.cuh";

    public const int GranuleBytes = 128;

    /// <summary>Elements from the layer's place in a page to K[head, token of the page].</summary>
    public static long Element(int pageTokens, int headDim, int head, int token) => ((long)head * pageTokens + token) * headDim;

    /// <summary>Elements from a key to its value.</summary>
    public static long Elements(int pageTokens, int headDim, int kvHeads) => (long)kvHeads * pageTokens * headDim;

    /// <summary>Assertions at places that tell every factor from every other, and past 2^31 elements.</summary>
    public static string Text { get; } = Write();

    static string Write()
    {
        var text = new StringBuilder("\n#line 1 \"key/value layout contract\"\n");
        text.Append($"static_assert(GRANULE_BYTES == {GranuleBytes}, \"GRANULE_BYTES is {GranuleBytes} in C#\");\n");
        (int PageTokens, int HeadDim, int Head, int Token)[] places =
            [(16, 64, 0, 0), (16, 64, 0, 1), (16, 64, 1, 0), (64, 128, 7, 5), (128, 6, 3, 127), (128, 256, 100_000, 17)];
        foreach ((int pageTokens, int headDim, int head, int token) in places)
        {
            long key = Element(pageTokens, headDim, head, token), all = Elements(pageTokens, headDim, head + 1);
            text.Append($"static_assert(kv_element<{pageTokens}, {headDim}>({head}, {token}) == {key}, \"kv_element<{pageTokens}, {headDim}>({head}, {token}) is {key} in C#\");\n");
            text.Append($"static_assert(kv_elements<{pageTokens}, {headDim}>({head + 1}) == {all}, \"kv_elements<{pageTokens}, {headDim}>({head + 1}) is {all} in C#\");\n");
        }
        return text.ToString();
    }
}
