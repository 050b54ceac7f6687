using KvCuda.Kernels.Mlp;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Mlp;

public class MlpTests
{
    static readonly Tolerance tolerance = new(1e-6, 5e-6, "1 + tanh and 1 + erf lose digits where the activation is small");

    [Theory]
    [InlineData(Activation.Silu)]
    [InlineData(Activation.GeluTanh)]
    [InlineData(Activation.Gelu)]
    [InlineData(Activation.Relu)]
    internal void Gates_and_activations_equal_their_formulas(Activation activation)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(5);
        Matrix gate = Matrix.Random(random, 3, 131, scale: 3), up = Matrix.Random(random, 3, 131);
        (Tensor y, Func<float[]> read) = device.InPlace(gate);
        new Gate(device.Library).Launch(device.Stream, y, y, device.Tensor(up), activation);
        tolerance.Check("gate", read(), MatmulReference.Gate(gate, up, activation));

        (Tensor x, Func<float[]> readX) = device.InPlace(gate);
        new Activate(device.Library).Launch(device.Stream, x, activation);
        Matrix ones = new(3, 131);
        ones.Numbers.AsSpan().Fill(1);
        tolerance.Check("activate", readX(), MatmulReference.Gate(gate, ones, activation));
    }
}
