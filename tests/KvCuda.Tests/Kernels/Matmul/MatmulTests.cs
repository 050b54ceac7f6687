using KvCuda.Kernels.Matmul;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Matmul;

public class MatmulTests
{
    [Theory]
    [InlineData(DType.F32, 1, 64, 7)]
    [InlineData(DType.F32, 3, 5, 3)] // unaligned: single numbers
    [InlineData(DType.BF16, 2, 1032, 9)]
    [InlineData(DType.F16, 5, 264, 33)]
    [InlineData(DType.BF16, 11, 100, 6)] // unaligned, and more rows than one block takes
    public void Matvec_equals_its_formula(DType type, int rows, int inputs, int outputs)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, type), bias = Matrix.Random(random, 1, outputs, type);
        Tensor deviceX = device.Tensor(x), deviceWeight = device.Tensor(weight, type), deviceBias = device.Tensor(bias, type);
        var kernel = new Matvec(device.Library);
        (Tensor y, Func<float[]> read) = device.Result(rows, outputs);
        kernel.Launch(device.Stream, y, deviceX, deviceWeight, default, Epilogue.Store);
        Matrix expected = MatmulReference.MatMul(x, weight);
        Tolerance.Sums.Check("matvec", read(), expected);

        kernel.Launch(device.Stream, y, deviceX, deviceWeight, deviceBias, Epilogue.Add);
        Matrix biased = MatmulReference.MatMul(x, weight, bias);
        for (int i = 0; i < expected.Numbers.Length; i++)
        {
            expected.Numbers[i] += biased.Numbers[i];
        }
        Tolerance.Sums.Check("matvec + bias +=", read(), expected);
    }

    [Theory]
    [InlineData(DType.F32, 1, 64, 5, Activation.Silu)]
    [InlineData(DType.BF16, 3, 520, 6, Activation.GeluTanh)]
    [InlineData(DType.F16, 9, 36, 3, Activation.Relu)]
    internal void The_fused_gate_has_the_bits_of_its_parts(DType type, int rows, int inputs, int outputs, Activation activation)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), gate = Matrix.Random(random, outputs, inputs, type), up = Matrix.Random(random, outputs, inputs, type);
        Tensor deviceX = device.Tensor(x), deviceGate = device.Tensor(gate, type), deviceUp = device.Tensor(up, type);
        (Tensor fused, Func<float[]> readFused) = device.Result(rows, outputs);
        new MatvecGate(device.Library).Launch(device.Stream, fused, deviceX, deviceGate, deviceUp, activation);
        (Tensor g, Func<float[]> readG) = device.Result(rows, outputs);
        (Tensor u, _) = device.Result(rows, outputs);
        var matvec = new Matvec(device.Library);
        matvec.Launch(device.Stream, g, deviceX, deviceGate, default, Epilogue.Store);
        matvec.Launch(device.Stream, u, deviceX, deviceUp, default, Epilogue.Store);
        new KvCuda.Kernels.Mlp.Gate(device.Library).Launch(device.Stream, g, g, u, activation);
        SameBits.Check<float>("matvec_gate", readG(), readFused(), "g");
        matvec.Launch(device.Stream, u, deviceX, deviceGate, default, Epilogue.Store);
        matvec.Launch(device.Stream, u, deviceX, deviceUp, default, Epilogue.Gate(activation));
        SameBits.Check<float>("matvec_gate", readG(), readFused(), "g");
    }

    [Theory]
    [InlineData(DType.F32, 70, 33, 67)]
    [InlineData(DType.BF16, 9, 48, 130)]
    [InlineData(DType.F16, 64, 17, 64)]
    public void Matmul_tile_equals_its_formula(DType type, int rows, int inputs, int outputs)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, type), bias = Matrix.Random(random, 1, outputs);
        (Tensor y, Func<float[]> read) = device.Result(rows, outputs);
        new MatmulTile(device.Library).Launch(device.Stream, y, device.Tensor(x), device.Tensor(weight, type), device.Tensor(bias), Epilogue.Store);
        Tolerance.Sums.Check("matmul_tile", read(), MatmulReference.MatMul(x, weight, bias));
    }

    [Theory]
    [InlineData(DType.BF16, 70, 72, 67, false)]
    [InlineData(DType.F16, 130, 40, 129, true)]
    [InlineData(DType.BF16, 1, 200, 5, true)]
    public void Matmul_mma_equals_its_formula_with_x_rounded(DType type, int rows, int inputs, int outputs, bool large)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, type), bias = Matrix.Random(random, 1, outputs, type);
        Matrix gate = Matrix.Random(random, rows, outputs);
        MatmulMma.Tile tile = large ? MatmulMma.Tile.Large : MatmulMma.Tile.Small;
        Tensor deviceX = device.Tensor(x), deviceWeight = device.Tensor(weight, type);
        var kernel = new MatmulMma(device.Library);
        (Tensor y, Func<float[]> read) = device.Result(rows, outputs);
        kernel.Launch(device.Stream, y, deviceX, deviceWeight, device.Tensor(bias, type), Epilogue.Store, tile);
        Matrix rounded = x.Rounded(type);
        Tolerance.TensorCoreSums.Check("matmul_mma", read(), MatmulReference.MatMul(rounded, weight, bias));

        (Tensor g, Func<float[]> readG) = device.InPlace(gate);
        kernel.Launch(device.Stream, g, deviceX, deviceWeight, default, Epilogue.Gate(Activation.Silu), tile);
        Tolerance.TensorCoreSums.Check("matmul_mma gate", readG(),
            MatmulReference.Gate(gate, MatmulReference.MatMul(rounded, weight), Activation.Silu));
    }

    [Theory]
    [InlineData(DType.BF16, 1, 72, 67)]
    [InlineData(DType.F16, 20, 520, 33)]
    [InlineData(DType.BF16, 9, 2056, 5)] // every warp goes round
    [InlineData(DType.BF16, 64, 264, 40)]
    public void Matmul_few_equals_its_formula_with_x_rounded(DType type, int rows, int inputs, int outputs)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, type), bias = Matrix.Random(random, 1, outputs, type);
        Matrix gate = Matrix.Random(random, rows, outputs), rounded = x.Rounded(type);
        Tensor deviceX = device.Tensor(x), deviceWeight = device.Tensor(weight, type);
        var kernel = new MatmulFew(device.Library);
        (Tensor y, Func<float[]> read) = device.Result(rows, outputs);
        kernel.Launch(device.Stream, y, deviceX, deviceWeight, device.Tensor(bias, type), Epilogue.Store);
        Tolerance.TensorCoreSums.Check("matmul_few", read(), MatmulReference.MatMul(rounded, weight, bias));

        (Tensor g, Func<float[]> readG) = device.InPlace(gate);
        kernel.Launch(device.Stream, g, deviceX, deviceWeight, default, Epilogue.Gate(Activation.Silu));
        Tolerance.TensorCoreSums.Check("matmul_few gate", readG(),
            MatmulReference.Gate(gate, MatmulReference.MatMul(rounded, weight), Activation.Silu));
    }

    [Theory]
    [InlineData(70, 72, 67, false, DType.BF16)]
    [InlineData(130, 200, 300, true, DType.F32)]
    [InlineData(1, 16, 5, false, DType.BF16)]
    [InlineData(129, 328, 129, false, DType.BF16)] // more stages than there are buffers
    public void Matmul_wgmma_equals_its_formula_with_x_rounded(int rows, int inputs, int outputs, bool large, DType biasType)
    {
        using TestDevice device = TestDevice.Open();
        Assert.SkipWhen(device.Context.Device.Architecture != MatmulWgmma.Architecture, $"only compute capability 9.0 has wgmma; this is {device.Context.Device}");
        var random = new Random(inputs);
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, DType.BF16), bias = Matrix.Random(random, 1, outputs, biasType);
        Matrix gate = Matrix.Random(random, rows, outputs);
        MatmulWgmma.Tile tile = large ? MatmulWgmma.Tile.Large : MatmulWgmma.Tile.Small;
        Tensor deviceX = device.Tensor(x), deviceWeight = device.Tensor(weight, DType.BF16);
        var kernel = new MatmulWgmma(device.Library);
        Assert.True(kernel.Takes(deviceWeight));
        (Tensor y, Func<float[]> read) = device.Result(rows, outputs);
        kernel.Launch(device.Stream, y, deviceX, deviceWeight, device.Tensor(bias, biasType), Epilogue.Store, tile);
        Matrix rounded = x.Rounded(DType.BF16);
        Tolerance.TensorCoreSums.Check("matmul_wgmma", read(), MatmulReference.MatMul(rounded, weight, bias));

        (Tensor g, Func<float[]> readG) = device.InPlace(gate);
        kernel.Launch(device.Stream, g, deviceX, deviceWeight, default, Epilogue.Gate(Activation.Silu), tile);
        Tolerance.TensorCoreSums.Check("matmul_wgmma gate", readG(),
            MatmulReference.Gate(gate, MatmulReference.MatMul(rounded, weight), Activation.Silu));
    }

    [Fact]
    public void A_rows_bits_do_not_depend_on_its_batch_or_on_the_tile()
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(9);
        const int rows = 20, inputs = 96, outputs = 24;
        Matrix x = Matrix.Random(random, rows, inputs), weight = Matrix.Random(random, outputs, inputs, DType.BF16);
        Tensor deviceX = device.Tensor(x), deviceWeight = device.Tensor(weight, DType.BF16);
        float[] Run(Action<Tensor, Tensor> launch, int first, int count)
        {
            (Tensor y, Func<float[]> read) = device.Result(count, outputs);
            launch(y, deviceX.Slice(first, count));
            return read();
        }
        var matvec = new Matvec(device.Library);
        var mma = new MatmulMma(device.Library);
        var tile = new MatmulTile(device.Library);
        void Vector(Tensor y, Tensor rowsOfX) => matvec.Launch(device.Stream, y, rowsOfX, deviceWeight, default, Epilogue.Store);
        void Small(Tensor y, Tensor rowsOfX) => mma.Launch(device.Stream, y, rowsOfX, deviceWeight, default, Epilogue.Store, MatmulMma.Tile.Small);
        void Large(Tensor y, Tensor rowsOfX) => mma.Launch(device.Stream, y, rowsOfX, deviceWeight, default, Epilogue.Store, MatmulMma.Tile.Large);
        var few = new MatmulFew(device.Library);
        void Few(Tensor y, Tensor rowsOfX) => few.Launch(device.Stream, y, rowsOfX, deviceWeight, default, Epilogue.Store);
        void Plain(Tensor y, Tensor rowsOfX) => tile.Launch(device.Stream, y, rowsOfX, deviceWeight, default, Epilogue.Store);
        foreach (Action<Tensor, Tensor> kernel in new Action<Tensor, Tensor>[] { Vector, Small, Plain, Few })
        {
            float[] all = Run(kernel, 0, rows);
            foreach ((int first, int count) in new[] { (13, 1), (3, 2), (0, 7) })
            {
                Assert.Equal(all[(first * outputs)..((first + count) * outputs)], Run(kernel, first, count));
            }
        }
        Assert.Equal(Run(Small, 0, rows), Run(Large, 0, rows));
    }

    [Fact]
    public void Plans_say_which_kernel_and_why()
    {
        static MatmulPlan.Kind Kind(int rows, bool mma = true, bool consistent = false, bool exact = false) =>
            MatmulPlan.Choose(rows, 4096, mma, consistent, exact, 132).Kernel;
        Assert.Equal(MatmulPlan.Kind.Matvec, Kind(1));
        Assert.Equal(MatmulPlan.Kind.Matvec, Kind(64));
        Assert.Equal(MatmulPlan.Kind.Matvec, Kind(5000, consistent: true));
        Assert.Equal(MatmulPlan.Kind.Mma, Kind(65));
        Assert.Equal(MatmulPlan.Kind.Tile, Kind(65, mma: false));
        Assert.Equal(MatmulPlan.Kind.Tile, Kind(65, exact: true));
        Assert.Equal(MatmulMma.Tile.Small, MatmulPlan.Choose(128, 2048, true, false, false, 132).Tile);
        Assert.Equal(MatmulMma.Tile.Large, MatmulPlan.Choose(2048, 2048, true, false, false, 132).Tile);
    }
}
