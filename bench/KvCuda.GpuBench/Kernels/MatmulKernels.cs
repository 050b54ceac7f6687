using KvCuda.Kernels.Matmul;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Matmul()
    {
        foreach (int rows in new[] { 1, Few })
        {
            yield return Matvec(rows);
            yield return MatvecGate(rows);
            yield return MatvecQkv(rows);
            yield return MatmulFew(rows);
        }
        yield return MatmulTile();
        yield return MatmulMma(Kernels.Matmul.MatmulMma.Tile.Small, "64 x 64");
        yield return MatmulMma(Kernels.Matmul.MatmulMma.Tile.Large, "128 x 128");
        if (backend.Stream.Context.Device.Architecture == Kernels.Matmul.MatmulWgmma.Architecture)
        {
            yield return MatmulWgmma();
        }
    }

    KernelResult Matvec(int rows)
    {
        var kernel = new Matvec(backend.Library);
        Tensor[] weights = Cold(Type, dim, hidden);
        Tensor x = Numbers(DType.F32, rows, hidden), y = Empty(DType.F32, rows, dim);
        return Measure("matvec", $"({rows}, {hidden}) x ({dim}, {hidden})", 2.0 * dim * hidden, 0,
            call => kernel.Launch(backend.Stream, y, x, weights[call % weights.Length], default, Epilogue.Add));
    }

    KernelResult MatvecGate(int rows)
    {
        var kernel = new MatvecGate(backend.Library);
        Tensor[] gates = Cold(Type, hidden, dim), ups = Cold(Type, hidden, dim);
        Tensor x = Numbers(DType.F32, rows, dim), g = Empty(DType.F32, rows, hidden);
        return Measure("matvec_gate", $"({rows}, {dim}) x 2 ({hidden}, {dim})", 4.0 * dim * hidden, 0,
            call => kernel.Launch(backend.Stream, g, x, gates[call % gates.Length], ups[call % ups.Length], Activation.Silu));
    }

    KernelResult MatvecQkv(int rows)
    {
        var kernel = new MatvecQkv(backend.Library);
        Tensor[] queries = Cold(Type, heads * headDim, dim), keys = Cold(Type, KvWidth, dim), values = Cold(Type, KvWidth, dim);
        (BatchRows batch, KvView kv) = Sequences(rows, PageTokens, 1);
        Tensor x = Numbers(DType.F32, rows, dim), q = Empty(DType.F32, rows, heads * headDim), cosSin = Numbers(DType.F32, rows, headDim);
        return Measure("matvec_qkv", $"({rows}, {dim}) x ({heads} + 2 x {kvHeads} heads of {headDim}, {dim})", 2.0 * (heads + 2 * kvHeads) * headDim * dim, 0,
            call => kernel.Launch(backend.Stream, kv, q, x, new(queries[call % queries.Length], default, keys[call % keys.Length], default,
                values[call % values.Length], default), cosSin, batch));
    }

    KernelResult MatmulFew(int rows)
    {
        var kernel = new MatmulFew(backend.Library);
        Tensor[] weights = Cold(Type, dim, hidden);
        Tensor x = Numbers(DType.F32, rows, hidden), y = Empty(DType.F32, rows, dim);
        return Measure("matmul_few", $"({rows}, {hidden}) x ({dim}, {hidden})", 2.0 * dim * hidden, 0,
            call => kernel.Launch(backend.Stream, y, x, weights[call % weights.Length], default, Epilogue.Add));
    }

    KernelResult MatmulWgmma()
    {
        var kernel = new MatmulWgmma(backend.Library);
        Tensor weight = Numbers(Type, hidden, dim), x = Numbers(DType.F32, many, dim), y = Empty(DType.F32, many, hidden);
        return Measure("matmul_wgmma", $"({many}, {dim}) x ({hidden}, {dim})", 0, 2.0 * many * dim * hidden,
            _ => kernel.Launch(backend.Stream, y, x, weight, default, Epilogue.Store));
    }

    KernelResult MatmulTile()
    {
        var kernel = new MatmulTile(backend.Library);
        Tensor weight = Numbers(Type, dim, dim), x = Numbers(DType.F32, many, dim), y = Empty(DType.F32, many, dim);
        return Measure("matmul_tile", $"({many}, {dim}) x ({dim}, {dim})", 0, 2.0 * many * dim * dim,
            _ => kernel.Launch(backend.Stream, y, x, weight, default, Epilogue.Store));
    }

    KernelResult MatmulMma(MatmulMma.Tile tile, string name)
    {
        var kernel = new MatmulMma(backend.Library);
        Tensor weight = Numbers(Type, hidden, dim), x = Numbers(DType.F32, many, dim), y = Empty(DType.F32, many, hidden);
        return Measure("matmul_mma", $"({many}, {dim}) x ({hidden}, {dim}), tiles of {name}", 0, 2.0 * many * dim * hidden,
            _ => kernel.Launch(backend.Stream, y, x, weight, default, Epilogue.Store, tile));
    }
}
