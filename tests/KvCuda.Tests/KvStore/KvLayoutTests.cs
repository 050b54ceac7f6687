// Layouts whose layers differ in shape, and pages in another order than the linear one.
using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Tests.KvStore;

public sealed class KvLayoutTests
{
    [Fact]
    public void A_class_is_one_window_and_one_shape()
    {
        // Gemma 4: heads of 8 behind a window, of 16 where everything is seen; here one window layer has fewer of them.
        LayerSharing sharing = LayerSharing.Parse("0s_1s_2_3s_4s_4s", 6, 4);
        var layout = new KvLayout(sharing, layer => layer == 2 ? new(2, 16) : new(layer == 4 ? 1 : 2, 8), DType.BF16, 16);
        Assert.Equal([0, 4, 4], layout.Classes.Select(c => c.Window));
        Assert.Equal([[2], [0, 1, 3], [4]], layout.Classes.Select(c => c.Owners.ToArray()));
        Assert.Equal([(2, 16), (2, 8), (1, 8)], layout.Classes.Select(c => (c.Shape.KvHeads, c.Shape.HeadDim)));
        Assert.Equal(2 * 2 * 2 * 16, layout.BytesPerTokenOf(2));
        Assert.Equal(2 * 2 * 1 * 8, layout.BytesPerTokenOf(4));
        Assert.Equal(0, layout.BytesPerTokenOf(5));
        Assert.Equal(layout.BytesPerToken, Enumerable.Range(0, 6).Sum(layout.BytesPerTokenOf));
        KvView view = layout.ViewOf(3, arena: 4096, c => new("table", DType.I32, 8192 + c, 1, 4));
        Assert.Equal((2, 8, 16), (view.KvHeads, view.HeadDim, view.PageTokens));
        Assert.Equal((4096, 8192 + 1), (view.Arena, view.PageTable.Address));
        Assert.Equal(2 * layout.Classes[1].Shape.LayerBytes, view.LayerOffset);
    }

    [Fact]
    public void Layers_that_keep_everything_have_one_shape()
    {
        InvalidRequestException e = Assert.Throws<InvalidRequestException>(
            () => new KvLayout(LayerSharing.Parse("0_1", 2), layer => new(1 + layer, 8), DType.F32, 16));
        Assert.Contains("Layers 0 and 1", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(4, 64)]
    [InlineData(4, 128)]
    [InlineData(8, 96)]
    [InlineData(16, 32)]
    [InlineData(16, 128)]
    [InlineData(32, 256)]
    public void What_was_written_in_any_order_comes_back_linear_and_goes_in_again(int elementBits, int headDim)
    {
        const int owners = 2, kvHeads = 3, pageTokens = 16;
        KvPageShape linear = new(pageTokens, kvHeads, headDim, elementBits), swizzled = linear.In(KvOrder.Swizzled);
        Assert.Equal(KvOrder.Swizzled, swizzled.Order);
        int bytes = (int)(owners * linear.LayerBytes);
        byte[] page = new byte[bytes], other = new byte[bytes], back = new byte[bytes], numbers = new byte[bytes];
        new Random(headDim).NextBytes(numbers);
        KvTokenBytes plain = new(linear, owners), exchanged = new(swizzled, owners);
        byte[] token = new byte[plain.Bytes];
        for (int t = 0; t < pageTokens; t++)
        {
            plain.Scatter(page, numbers.AsSpan(t * plain.Bytes, plain.Bytes), t);
            exchanged.Scatter(other, numbers.AsSpan(t * plain.Bytes, plain.Bytes), t);
        }
        Assert.NotEqual(page, other);
        for (int t = 0; t < pageTokens; t++)
        {
            exchanged.Gather(token, other, t);
            Assert.Equal(numbers[(t * plain.Bytes)..((t + 1) * plain.Bytes)], token);
            plain.Scatter(back, token, t);
        }
        Assert.Equal(page, back);
    }

    [Theory]
    [InlineData(16, 64)]
    [InlineData(16, 128)]
    [InlineData(16, 32)]
    [InlineData(8, 64)]
    [InlineData(16, 96)]
    [InlineData(32, 512)]
    public void The_same_piece_of_eight_tokens_lies_in_eight_banks(int elementBits, int headDim)
    {
        KvPageShape shape = new KvPageShape(64, 1, headDim, elementBits).In(KvOrder.Swizzled);
        int pieces = shape.RowBytes / KvPageShape.PieceBytes;
        for (int first = 0; first < 64; first += 8)
        {
            for (int piece = 0; piece < pieces; piece++)
            {
                var banks = Enumerable.Range(first, 8).Select(t => (t * pieces + shape.Piece(t, piece)) % 8);
                Assert.Equal(8, banks.Distinct().Count());
            }
        }
    }

    [Fact]
    public void Rows_that_are_no_even_number_of_pieces_stay_linear()
    {
        LayerSharing sharing = LayerSharing.Parse("0_1s", 2, 8);
        var layout = new KvLayout(sharing, layer => new(1, layer == 0 ? 64 : 6), DType.F16, 16, KvOrder.Swizzled);
        Assert.Equal([KvOrder.Swizzled, KvOrder.Linear], layout.Classes.Select(c => c.Shape.Order));
    }
}
