using KvCuda.Backends;
using KvCuda.Backends.Cpu;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Backends.Cpu;

/// <summary>Matrices on a <see cref="CpuBackend"/> of each instruction set, and back.</summary>
static class CpuTensors
{
    /// <summary>The sets this processor has.</summary>
    public static InstructionSet[] Sets => [.. Enum.GetValues<InstructionSet>().Where(set => set.IsAvailable())];

    /// <summary>The matrix as a tensor of the given type.</summary>
    public static Tensor Upload(this IBackend backend, Matrix matrix, DType type = DType.F32)
    {
        Tensor tensor = backend.Allocate("matrix", type, matrix.Rows, matrix.Columns);
        backend.Write(tensor, matrix.Bytes(type));
        return tensor;
    }

    /// <summary>(1, n) i32.</summary>
    public static Tensor Upload(this IBackend backend, params int[] numbers)
    {
        Tensor tensor = backend.Allocate("indices", DType.I32, 1, numbers.Length);
        numbers.CopyTo(tensor.Span<int>());
        return tensor;
    }

    /// <summary>An output full of NaN.</summary>
    public static Tensor Result(this IBackend backend, int rows, int columns)
    {
        Tensor tensor = backend.Allocate("result", DType.F32, rows, columns);
        tensor.Span<float>().Fill(float.NaN);
        return tensor;
    }
}
