using System.Text;
using KvCuda.Tensors;

namespace KvCuda.Kernels;

/// <summary>The proof that kernels/shared/kv_layout.cuh computes what <see cref="KvPageShape"/> computes.</summary>
internal static class KvLayoutContract
{
    /// <summary>The header that must agree.</summary>
    public const string Header = "shared/kv_layout.cuh";

    /// <summary>Assertions at places that tell every factor from every other, and past 2^31 bytes.</summary>
    public static string Text { get; } = Write();

    static string Write()
    {
        var text = new StringBuilder("\n#line 1 \"key/value layout contract\"\n");
        (KvPageShape Shape, int Page, long LayerOffset, int Head, int Token)[] places =
        [
            (new(16, 2, 64, 16), 0, 0, 0, 0), (new(16, 2, 64, 16), 1, 0, 0, 0), (new(16, 2, 64, 16), 0, 256, 0, 0),
            (new(16, 2, 64, 16), 0, 0, 1, 0), (new(16, 2, 64, 16), 0, 0, 0, 1), (new(64, 8, 128, 32), 3, 4096, 7, 5),
            (new(128, 3, 6, 32), 1_000_000_000, 1L << 40, 2, 127), (new(128, 65_536, 256, 32), 5, 128, 65_535, 17),
            (new(64, 2, 80, 8), 2, 0, 1, 9), (new(32, 2, 64, 4), 2, 0, 1, 9),
        ];
        foreach ((KvPageShape shape, int page, long layerOffset, int head, int token) in places)
        {
            string layout = $"KvLayout{{{shape.PageTokens}, {shape.KvHeads}, {shape.HeadDim}, {shape.ElementBits}}}";
            string at = $"({page}, {layerOffset}, {head}, {token})";
            long key = shape.KeyOffset(page, layerOffset, head, token);
            Assert($"{layout}.key_offset{at}", key);
            Assert($"{layout}.value_offset{at}", key + shape.ValueBytes);
        }
        (int HeadDim, int Bits, int Token, int Piece)[] pieces =
            [(64, 16, 5, 3), (128, 16, 5, 11), (96, 16, 7, 9), (32, 16, 6, 1), (48, 16, 9, 5), (64, 32, 13, 15), (64, 4, 3, 1)];
        foreach ((int headDim, int bits, int token, int piece) in pieces)
        {
            KvPageShape shape = new KvPageShape(16, 2, headDim, bits).In(KvOrder.Swizzled);
            Assert($"KvLayout{{16, 2, {headDim}, {bits}}}.swizzled({token}, {piece})", shape.Piece(token, piece));
        }
        return text.ToString();

        void Assert(string expression, long value) =>
            text.Append($"static_assert({expression} == {value}, \"{expression} is {value} in C#\");\n");
    }
}
