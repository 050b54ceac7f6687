using System.Text;

namespace KvCuda.Kernels;

/// <summary>
/// Where a number lies in the key/value store, and the proof that kernels/shared/kv_layout.cuh computes the same:
/// K[head, token of the page] of a layer is at byte page * 128 + layerOffset + (head * pageTokens + token) * headDim * bytes
/// of the arena, and V lies kvHeads * pageTokens * headDim * bytes further.
/// </summary>
internal static class KvLayoutContract
{
    /// <summary>The header that must agree.</summary>
    public const string Header = "shared/kv_layout.cuh";

    /// <summary>The unit in which page tables count.</summary>
    public const int GranuleBytes = 128;

    /// <summary>Bytes from the arena's start to K[head, token of the page].</summary>
    public static long KeyOffset(int pageTokens, int headDim, int bytes, int page, long layerOffset, int head, int token) =>
        (long)page * GranuleBytes + layerOffset + ((long)head * pageTokens + token) * headDim * bytes;

    /// <summary>Bytes from a key to its value.</summary>
    public static long ValueBytes(int pageTokens, int headDim, int bytes, int kvHeads) => (long)kvHeads * pageTokens * headDim * bytes;

    /// <summary>Assertions at places that tell every factor from every other, and past 2^31 bytes.</summary>
    public static string Text { get; } = Write();

    static string Write()
    {
        var text = new StringBuilder("\n#line 1 \"key/value layout contract\"\n");
        (int PageTokens, int KvHeads, int HeadDim, int Bytes, int Page, long LayerOffset, int Head, int Token)[] places =
        [
            (16, 2, 64, 2, 0, 0, 0, 0), (16, 2, 64, 2, 1, 0, 0, 0), (16, 2, 64, 2, 0, 256, 0, 0), (16, 2, 64, 2, 0, 0, 1, 0),
            (16, 2, 64, 2, 0, 0, 0, 1), (64, 8, 128, 4, 3, 4096, 7, 5), (128, 3, 6, 4, 1_000_000_000, 1L << 40, 2, 127),
            (128, 65_536, 256, 4, 5, 128, 65_535, 17),
        ];
        foreach ((int pageTokens, int kvHeads, int headDim, int bytes, int page, long layerOffset, int head, int token) in places)
        {
            string layout = $"KvLayout{{{pageTokens}, {kvHeads}, {headDim}, {bytes}}}";
            string at = $"({page}, {layerOffset}, {head}, {token})";
            long key = KeyOffset(pageTokens, headDim, bytes, page, layerOffset, head, token);
            Assert($"{layout}.key_offset{at}", key);
            Assert($"{layout}.value_offset{at}", key + ValueBytes(pageTokens, headDim, bytes, kvHeads));
        }
        return text.ToString();

        void Assert(string expression, long value) =>
            text.Append($"static_assert({expression} == {value}, \"{expression} is {value} in C#\");\n");
    }
}
