using KvCuda.Kernels.Rope;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Rope;

public class RopeTests
{
    [Theory]
    [InlineData(3, 1f)]
    [InlineData(70, 1.25f)]
    public void Angles_are_exact_at_any_position(int pairs, float scale)
    {
        using TestDevice device = TestDevice.Open();
        int[] positions = [0, 1, 4095, 131071, 1_000_000];
        var frequencies = new Matrix(1, pairs);
        for (int i = 0; i < pairs; i++)
        {
            frequencies[0, i] = (float)Math.Pow(10000, -i / (double)pairs);
        }
        (Tensor y, Func<float[]> read) = device.Result(positions.Length, 2 * pairs);
        new RopeAngles(device.Library).Launch(device.Stream, y, device.Tensor(positions), device.Tensor(frequencies), scale);
        new Tolerance(2e-7, 2e-7, "one rounding to f32, one multiplication by the scale")
            .Check("rope_angles", read(), RopeReference.Angles(positions, frequencies, scale));
    }

    [Theory]
    [InlineData(1, 6, 3)]
    [InlineData(5, 64, 32)]
    [InlineData(3, 80, 16)] // partial rotation: the rest of the head stays
    public void Heads_are_rotated_in_place(int heads, int headDim, int pairs)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(heads);
        int[] positions = [7, 300, 0];
        var frequencies = new Matrix(1, pairs);
        frequencies.Numbers.AsSpan().Fill(0.37f);
        Matrix x = Matrix.Random(random, 3, heads * headDim), cosSin = RopeReference.Angles(positions, frequencies, 1).Rounded(DType.F32);
        (Tensor y, Func<float[]> read) = device.InPlace(x);
        new Rotate(device.Library).Launch(device.Stream, y, device.Tensor(cosSin), headDim);
        Tolerance.ElementWise.Check("rotate", read(), RopeReference.Rotate(x, cosSin, headDim));
    }
}
