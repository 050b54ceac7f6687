using System.Runtime.InteropServices;
using KvCuda.Backends.Cuda;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>One measured kernel.</summary>
/// <param name="Kernel">its name, which is its file's: rms_norm</param>
/// <param name="Shape">what it was launched on</param>
/// <param name="Microseconds">median device time of one launch</param>
/// <param name="Bytes">bytes that must cross the memory bus at least once, or 0 where arithmetic is the bound</param>
/// <param name="Flops">multiplications plus additions, or 0 where memory is the bound</param>
internal sealed record KernelResult(string Kernel, string Shape, double Microseconds, double Bytes, double Flops);

/// <summary>
/// Every kernel alone, launched as the CUDA backend does, at the sizes of a 1.1B Llama: one method per kernel, one file per folder of
/// kernels/. What is read once per step (weights, pages) is rotated through more copies than the L2 cache holds.
/// </summary>
/// <param name="backend">whose stream and kernels are used</param>
/// <param name="small">sizes for the host runner: shows that everything launches, measures nothing</param>
internal sealed partial class KernelBench(CudaBackend backend, bool small) : IDisposable
{
    readonly DeviceStopwatch stopwatch = new(backend.Stream);
    readonly List<nint> made = [];

    readonly int dim = small ? 64 : 2048, heads = small ? 4 : 32, kvHeads = small ? 2 : 4, headDim = small ? 16 : 64, hidden = small ? 96 : 5632,
        vocabulary = small ? 300 : 32000, many = small ? 70 : 512, context = small ? 150 : 4096;
    const int Few = 8, PageTokens = 64;
    const DType Type = DType.BF16;

    /// <summary>Every kernel, folder by folder.</summary>
    public IEnumerable<KernelResult> Run() => Embed().Concat(Norm()).Concat(Rope()).Concat(Kv()).Concat(Mlp()).Concat(Matmul()).Concat(Attention()).Concat(Sample());

    KernelResult Measure(string kernel, string shape, double bytes, double flops, Action<int> launch)
    {
        double time = stopwatch.MicrosecondsInGraph(launch);
        made.ForEach(backend.Free);
        made.Clear();
        return new(kernel, shape, time, bytes, flops);
    }

    // Four times the largest L2 cache of today.
    Tensor[] Cold(DType type, int rows, int columns)
    {
        long bytes = (long)rows * columns * type.Bytes();
        return [.. Enumerable.Range(0, (int)Math.Clamp((small ? 1 << 12 : 256L << 20) / bytes + 1, 1, 64)).Select(_ => Numbers(type, rows, columns))];
    }

    Tensor Empty(DType type, int rows, int columns)
    {
        Tensor tensor = backend.Allocate("bench", type, rows, columns);
        made.Add(tensor.Address);
        return tensor;
    }

    // Small numbers, a block of them repeated: only their size matters.
    Tensor Numbers(DType type, int rows, int columns)
    {
        Tensor tensor = Empty(type, rows, columns);
        var random = new Random(1);
        byte[] block = new byte[(int)Math.Min(tensor.Count, 1 << 14) * type.Bytes()];
        for (int i = 0; i < block.Length; i += type.Bytes())
        {
            float value = (float)(random.NextDouble() - 0.5) / 8;
            if (type == DType.F32)
            {
                MemoryMarshal.Write(block.AsSpan(i), value);
            }
            else
            {
                MemoryMarshal.Write(block.AsSpan(i), BF16.FromSingle(value));
            }
        }
        for (long at = 0; at < tensor.Bytes; at += block.Length)
        {
            int part = (int)Math.Min(block.Length, tensor.Bytes - at);
            backend.Write(new("bench", type, tensor.Address + (nint)at, 1, part / type.Bytes()), block.AsSpan(0, part));
        }
        return tensor;
    }

    Tensor Ints(int rows, int columns, Func<int, int> value)
    {
        Tensor tensor = Empty(DType.I32, rows, columns);
        backend.Write(tensor, MemoryMarshal.AsBytes<int>([.. Enumerable.Range(0, rows * columns).Select(value)]));
        return tensor;
    }

    // The last `rowsEach` tokens of sequences of `length` tokens, and pages for all of them, lying apart.
    (BatchRows Rows, KvView Kv) Sequences(int sequences, int length, int rowsEach)
    {
        int pages = (length + PageTokens - 1) / PageTokens;
        long pageBytes = 2L * kvHeads * headDim * PageTokens * Type.Bytes();
        nint arena = backend.AllocateBytes("arena", pageBytes * pages * sequences);
        made.Add(arena);
        Tensor table = Ints(sequences, pages, i => (int)((i % pages * sequences + i / pages) * pageBytes / KvPageShape.GranuleBytes));
        int count = sequences * rowsEach;
        Tensor positions = Ints(1, count, row => length - rowsEach + row % rowsEach), sequenceOf = Ints(1, count, row => row / rowsEach);
        return (new(positions, positions, sequenceOf), new(arena, 0, new(PageTokens, kvHeads, headDim, 8 * Type.Bytes()), Type, table));
    }

    public void Dispose() => stopwatch.Dispose();
}
