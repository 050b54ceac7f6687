using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>The products of a model: plans, then launches.</summary>
internal sealed class MatmulKernels(KernelLibrary library)
{
    readonly Matvec matvec = new(library);
    readonly MatvecGate matvecGate = new(library);
    readonly MatvecQkv matvecQkv = new(library);
    readonly MatmulTile tile = new(library);
    readonly MatmulMma mma = new(library);
    readonly MatmulFew few = new(library);
    readonly MatmulWgmma wgmma = new(library);
    readonly bool prefersFew = MatmulPreference.Few, prefersWgmma = MatmulPreference.Wgmma;

    /// <summary>A row's bits must not depend on how many rows a call has.</summary>
    public bool Consistent { get; init; }

    /// <summary>Activations are never rounded.</summary>
    public bool Exact { get; init; }

    int Multiprocessors => library.Context.Device.Multiprocessors;

    /// <summary>y = x · weightᵀ (+ bias), y += ..., or y = activation(y) * ....</summary>
    public void Launch(GpuStream stream, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue)
    {
        if (x.Rows == 0)
        {
            return;
        }
        MatmulPlan plan = MatmulPlan.Choose(x.Rows, weight.Rows, MatmulMma.Takes(weight), Consistent, Exact, Multiprocessors);
        switch (plan.Kernel)
        {
            case MatmulPlan.Kind.Matvec when UsesFew(x.Rows, weight):
                few.Launch(stream, y, x, weight, bias, epilogue);
                break;
            case MatmulPlan.Kind.Matvec:
                matvec.Launch(stream, y, x, weight, bias, epilogue);
                break;
            case MatmulPlan.Kind.Tile:
                tile.Launch(stream, y, x, weight, bias, epilogue);
                break;
            default:
                if (prefersWgmma && wgmma.Takes(weight))
                {
                    wgmma.Launch(stream, y, x, weight, bias, epilogue);
                }
                else
                {
                    mma.Launch(stream, y, x, weight, bias, epilogue, plan.Tile);
                }
                break;
        }
    }

    /// <summary>g = activation(x · gateᵀ) * (x · upᵀ): one launch for few rows, two for many.</summary>
    public void LaunchGate(GpuStream stream, in Tensor g, in Tensor x, in Tensor gate, in Tensor up, Activation activation)
    {
        if (x.Rows == 0)
        {
            return;
        }
        MatmulPlan plan = MatmulPlan.Choose(x.Rows, gate.Rows, MatmulMma.Takes(gate), Consistent, Exact, Multiprocessors);
        if (plan.Kernel == MatmulPlan.Kind.Matvec && gate.Type == up.Type && !UsesFew(x.Rows, gate))
        {
            matvecGate.Launch(stream, g, x, gate, up, activation);
            return;
        }
        Launch(stream, g, x, gate, default, Epilogue.Store);
        Launch(stream, g, x, up, default, Epilogue.Gate(activation));
    }

    /// <summary>True if the three projections are one launch: few rows, and weights of one type.</summary>
    public bool FusesQkv(int rows, in Tensor q, in QkvWeights weights)
    {
        Tensor first = q.IsNone ? weights.Key : weights.Query;
        return !UsesFew(rows, first) && MatmulPlan.Choose(rows, first.Rows, MatmulMma.Takes(first), Consistent, Exact, Multiprocessors).Kernel
            == MatmulPlan.Kind.Matvec && MatvecQkv.Takes(q, weights);
    }

    /// <summary>Queries, and keys and values into their pages: where <see cref="FusesQkv"/>.</summary>
    public void LaunchQkv(GpuStream stream, in KvView kv, in Tensor q, in Tensor x, in QkvWeights weights, in Tensor cosSin,
        in BatchRows rows)
    {
        if (x.Rows > 0)
        {
            matvecQkv.Launch(stream, kv, q, x, weights, cosSin, rows);
        }
    }

    // Every number of rows that a decode step has runs on the same kernel: a row does not depend on its batch mates.
    bool UsesFew(int rows, in Tensor weight) =>
        prefersFew && !Consistent && !Exact && rows <= MatmulFew.MostRows && MatmulMma.Takes(weight);
}
