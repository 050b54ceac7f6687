using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>g = activation(x · gateᵀ) * (x · upᵀ) for few rows. Device code: kernels/matmul/matvec_gate.cu.</summary>
internal sealed class MatvecGate(KernelLibrary library) : IKernel
{
    const int Threads = 128;

    readonly record struct Variant(DType Weight, bool Aligned, int Rows, Activation Activation);

    public struct Args
    {
        public nint G, X, Gate, Up;
        public int Rows, Inputs, Outputs, Ahead;
    }

    readonly Variants<Variant, Args> variants = new(library, Source);

    /// <summary>As <see cref="Matvec"/>, whose loop it has: two outputs, the gate's and up's.</summary>
    public static KernelBudget Budget => new(Registers: 102);

    public static IEnumerable<KernelSource> Sources =>
        from weight in DeviceTypes.Floats
        from aligned in DeviceTypes.NoYes
        from rows in Matvec.RowCounts
        select Source(new(weight, aligned, rows, (Activation)(rows % 3)));

    static KernelSource<Args> Source(Variant variant) => new("matmul/matvec_gate.cu",
        ("WEIGHT", variant.Weight.DeviceName()), ("VECTOR", Matvec.VectorOf(variant.Weight, variant.Aligned)),
        ("ROWS", variant.Rows), ("LOADS", 4), ("THREADS", Threads), ("ACTIVATION", (int)variant.Activation));

    /// <param name="stream">where it is queued</param>
    /// <param name="g">(rows, outputs) f32</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="gate">(outputs, inputs)</param>
    /// <param name="up">(outputs, inputs), of the gate's type</param>
    /// <param name="activation">what the gate goes through</param>
    public void Launch(GpuStream stream, in Tensor g, in Tensor x, in Tensor gate, in Tensor up, Activation activation)
    {
        Expect.Type(up, gate.Type);
        int rows = Matvec.RowsPerBlock(x.Rows);
        bool aligned = Matvec.IsAligned(gate) && Matvec.IsAligned(up) && x.Columns % 4 == 0, ahead = ProgrammaticLaunch.On(library);
        variants[new(gate.Type, aligned, rows, activation)].Launch(stream,
            new Grid(Grid.Blocks(gate.Rows, Threads / 32), Grid.Blocks(x.Rows, rows), 1, Threads)
            {
                Programmatic = ahead,
            }, new()
            {
                G = g.Address, X = x.Address, Gate = gate.Address, Up = up.Address,
                Rows = x.Rows, Inputs = x.Columns, Outputs = gate.Rows, Ahead = ahead ? 1 : 0,
            });
    }
}
