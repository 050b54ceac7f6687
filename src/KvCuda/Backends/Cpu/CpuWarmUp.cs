using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Runs every verb of a forward pass once on a few numbers, so that the run time compiles the kernels while the model is still being
/// loaded, beside whoever loads it. Nothing is computed that anybody looks at.
/// </summary>
internal static unsafe class CpuWarmUp
{
    const int Hidden = 64, Heads = 2, HeadDim = 32, PageTokens = 16;

    /// <param name="set">whose kernels</param>
    /// <param name="weights">format of the matrices</param>
    /// <param name="kv">type of keys and values</param>
    public static void Run(InstructionSet set, WeightFormat weights, DType kv)
    {
        using CpuBackend backend = new(threads: 1, set);
        DType vectors = weights.IsStored ? weights.Element : DType.F32;
        Tensor matrix = backend.Allocate("matrix", weights, Hidden, Hidden), vector = backend.Allocate("vector", vectors, 1, Hidden);
        Tensor table = backend.Allocate("table", vectors, 1, Hidden), pages = backend.Allocate("pages", DType.I32, 1, 1);
        KvView view = new(backend.AllocateBytes("page", 2 * Hidden * PageTokens * kv.Bytes()), 0,
            new(PageTokens, Heads, HeadDim, 8 * kv.Bytes()), kv, pages);
        // A prompt, and a decode step after it.
        foreach (int rows in new[] { PageTokens - 1, 1 })
        {
            Tensor New(string name, DType type = DType.F32, int columns = Hidden) => backend.Allocate(name, type, rows, columns);
            Tensor x = New("x"), y = New("y"), k = New("k"), v = New("v"), zeros = backend.Allocate("zeros", DType.I32, 1, rows);
            Tensor positions = backend.Allocate("positions", DType.I32, 1, rows), angles = New("angles", columns: HeadDim);
            for (int row = 0; row < rows; row++)
            {
                positions.Span<int>()[row] = rows == 1 ? PageTokens - 1 : row;
            }
            BatchRows batch = new(zeros, positions, zeros);
            backend.RopeAngles(angles, positions, backend.Allocate("frequencies", DType.F32, 1, HeadDim / 2), 1);
            backend.Embed(x, table, zeros);
            backend.RmsNorm(y, x, vector, 1);
            backend.MatMul(k, y, matrix);
            backend.MatMul(v, y, matrix);
            backend.Rotate(k, angles, HeadDim);
            backend.StoreKv(view, k, v, batch);
            backend.Attend(y, k, view, batch, new(1));
            backend.MatMulAdd(x, y, matrix);
            backend.Gate(y, y, x, Activation.Silu);
            backend.Gather(x, y, zeros);
            Tensor greedy = New("greedy", DType.I32, SampleRow.Words);
            MemoryMarshal.Cast<int, SampleRow>(greedy.Span<int>()).Fill(new() { RepetitionPenalty = 1, TopP = 1 });
            backend.Sample(zeros, x, greedy, positions);
        }
    }
}
