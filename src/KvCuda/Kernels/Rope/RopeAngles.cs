using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Rope;

/// <summary>The cosines and sines of a step, from double angles. Device code: kernels/rope/rope_angles.cu.</summary>
internal sealed class RopeAngles(KernelLibrary library) : IKernel
{
    const int Threads = 64;

    public struct Args
    {
        public nint CosSin, Positions, InverseFrequency;
        public int Pairs;
        public float Scale;
    }

    readonly Variants<int, Args> variants = new(library, _ => Source());

    /// <summary>Double polynomials; once per step, so nothing hangs on it.</summary>
    public static KernelBudget Budget => new(Registers: 48);

    public static IEnumerable<KernelSource> Sources => [Source()];

    static KernelSource<Args> Source() => new("rope/rope_angles.cu", ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="cosSin">(rows, 2 * pairs) f32</param>
    /// <param name="positions">(1, rows) i32</param>
    /// <param name="inverseFrequency">(1, pairs) f32</param>
    /// <param name="scale">the attention factor of YaRN-like rope scalings; 1 otherwise</param>
    public void Launch(GpuStream stream, in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale)
    {
        int pairs = cosSin.Columns / 2;
        variants[0].Launch(stream, new Grid(cosSin.Rows, Grid.Blocks(pairs, Threads), 1, Threads), new()
        {
            CosSin = cosSin.Address, Positions = positions.Address, InverseFrequency = inverseFrequency.Address, Pairs = pairs,
            Scale = scale,
        });
    }
}
