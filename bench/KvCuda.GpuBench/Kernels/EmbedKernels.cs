using KvCuda.Kernels.Embed;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Embed()
    {
        yield return EmbedTokens();
        yield return GatherRows();
        yield return ScatterRows();
    }

    KernelResult EmbedTokens()
    {
        var kernel = new EmbedTokens(backend.Library);
        Tensor table = Numbers(Type, vocabulary, dim), x = Empty(DType.F32, many, dim), index = Ints(1, many, i => i * 7919 % vocabulary);
        return Measure("embed_tokens", $"({many}, {dim}) of {vocabulary}", (double)many * dim * 6, 0, _ => kernel.Launch(backend.Stream, x, table, index, add: false));
    }

    KernelResult GatherRows()
    {
        var kernel = new GatherRows(backend.Library);
        Tensor x = Numbers(DType.F32, many, dim), y = Empty(DType.F32, many / 2, dim), index = Ints(1, many / 2, i => 2 * i);
        return Measure("gather_rows", $"({many / 2}, {dim})", (double)many * dim * 4, 0, _ => kernel.Launch(backend.Stream, y, x, index));
    }

    KernelResult ScatterRows()
    {
        var kernel = new ScatterRows(backend.Library);
        Tensor x = Numbers(DType.F32, many / 2, dim), y = Empty(DType.F32, many, dim), index = Ints(1, many / 2, i => 2 * i);
        return Measure("scatter_rows", $"({many / 2}, {dim})", (double)many * dim * 4, 0, _ => kernel.Launch(backend.Stream, y, x, index));
    }
}
