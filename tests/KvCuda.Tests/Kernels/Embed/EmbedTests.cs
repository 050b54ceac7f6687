using KvCuda.Kernels.Embed;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Embed;

public class EmbedTests
{
    [Theory]
    [InlineData(DType.F32, 6, 11)]
    [InlineData(DType.F16, 257, 50)]
    [InlineData(DType.BF16, 512, 31)]
    public void Tokens_become_their_rows_and_padding_becomes_zeros(DType type, int dim, int vocabulary)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(1);
        Matrix table = Matrix.Random(random, vocabulary, dim, type);
        int[] tokens = [vocabulary - 1, 0, -1, 3, 3];
        (Tensor x, Func<float[]> read) = device.Result(tokens.Length, dim);
        var kernel = new EmbedTokens(device.Library);
        kernel.Launch(device.Stream, x, device.Tensor(table, type), device.Tensor(tokens), add: false);
        var expected = new Matrix(tokens.Length, dim);
        RowsReference.Embed(expected, table, tokens, add: false);
        Tolerance.Same.Check("embed_tokens", read(), expected);

        kernel.Launch(device.Stream, x, device.Tensor(table, type), device.Tensor([1, 2, -1, 0, 4]), add: true);
        RowsReference.Embed(expected, table, [1, 2, -1, 0, 4], add: true);
        Tolerance.ElementWise.Check("embed_tokens ADD=1", read(), expected);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(300)]
    public void Rows_are_gathered_and_scattered(int dim)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(2);
        Matrix x = Matrix.Random(random, 5, dim);
        (Tensor y, Func<float[]> readY) = device.Result(4, dim);
        new GatherRows(device.Library).Launch(device.Stream, y, device.Tensor(x), device.Tensor([4, 0, -1, 2]));
        var expected = new Matrix(4, dim);
        RowsReference.Gather(expected, x, [4, 0, -1, 2]);
        Tolerance.Same.Check("gather_rows", readY(), expected);

        Matrix target = Matrix.Random(random, 7, dim);
        (Tensor z, Func<float[]> readZ) = device.InPlace(target);
        new ScatterRows(device.Library).Launch(device.Stream, z, device.Tensor(x), device.Tensor([6, 0, -1, 2, 3]));
        RowsReference.Scatter(target, x, [6, 0, -1, 2, 3]);
        Tolerance.Same.Check("scatter_rows", readZ(), target);
    }
}
