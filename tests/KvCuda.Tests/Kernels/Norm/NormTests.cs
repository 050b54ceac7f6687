using KvCuda.Kernels.Norm;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Norm;

public class NormTests
{
    [Theory]
    [InlineData(DType.F32, 1, 1)]
    [InlineData(DType.F32, 3, 48)]
    [InlineData(DType.BF16, 2, 1000)]
    [InlineData(DType.F16, 5, 257)]
    public void Rms_norm_equals_its_formula(DType type, int rows, int dim)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(dim);
        Matrix x = Matrix.Random(random, rows, dim), weight = Matrix.Random(random, 1, dim, type);
        (Tensor y, Func<float[]> read) = device.Result(rows, dim);
        new RmsNorm(device.Library).Launch(device.Stream, y, device.Tensor(x), device.Tensor(weight, type), 1e-5f);
        Tolerance.ElementWise.Check("rms_norm", read(), NormReference.RmsNorm(x, weight, 1e-5f));
    }

    [Theory]
    [InlineData(DType.F32, 1, 2)]
    [InlineData(DType.BF16, 3, 768)]
    [InlineData(DType.F16, 2, 81)]
    public void Layer_norm_equals_its_formula_in_place(DType type, int rows, int dim)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(dim);
        Matrix x = Matrix.Random(random, rows, dim), weight = Matrix.Random(random, 1, dim, type), bias = Matrix.Random(random, 1, dim, type);
        (Tensor y, Func<float[]> read) = device.InPlace(x);
        new LayerNorm(device.Library).Launch(device.Stream, y, y, device.Tensor(weight, type), device.Tensor(bias, type), 1e-5f);
        Tolerance.ElementWise.Check("layer_norm", read(), NormReference.LayerNorm(x, weight, bias, 1e-5f));
    }

    [Fact]
    public void A_rows_bits_do_not_depend_on_its_batch()
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(3);
        Matrix x = Matrix.Random(random, 4, 300), weight = Matrix.Random(random, 1, 300);
        (Tensor all, Func<float[]> readAll) = device.Result(4, 300);
        (Tensor one, Func<float[]> readOne) = device.Result(1, 300);
        var kernel = new RmsNorm(device.Library);
        Tensor input = device.Tensor(x), w = device.Tensor(weight);
        kernel.Launch(device.Stream, all, input, w, 1e-6f);
        kernel.Launch(device.Stream, one, input.Slice(2, 1), w, 1e-6f);
        Assert.Equal(readAll()[600..900], readOne());
    }
}
