using KvCuda.Gpu;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>
/// Queries, keys and values of few rows, rotated, the latter two straight into their pages. Device code:
/// kernels/matmul/matvec_qkv.cu.
/// </summary>
internal sealed class MatvecQkv(KernelLibrary library) : IKernel
{
    const int Threads = 128;

    readonly record struct Variant(DType Weight, DType Bias, bool Aligned, int Rows, KvShape Kv);

    public struct Args
    {
        public KvPages Kv;
        public nint Q, X, Query, Key, Value, QueryBias, KeyBias, ValueBias, CosSin, Positions, Sequences;
        public int Rows, Inputs, Heads, KvHeads, Pairs, Ahead;
    }

    readonly Variants<Variant, Args> variants = new(library, Source);

    /// <summary>The loop of <see cref="Matvec"/>, and where to store: four blocks of 128 threads fit an SM.</summary>
    public static KernelBudget Budget => new(Registers: 128);

    public static IEnumerable<KernelSource> Sources =>
    [
        .. from weight in DeviceTypes.Floats
           from aligned in DeviceTypes.NoYes
           from rows in Matvec.RowCounts
           select Source(new(weight, weight, aligned, rows, new(weight, 64, 16))),
        .. KvShape.Samples.Select(kv => Source(new(kv.Type, kv.Type, true, 1, kv))),
    ];

    static KernelSource<Args> Source(Variant variant)
    {
        ArgsContract.Part<KvPages>();
        return new("matmul/matvec_qkv.cu", ("WEIGHT", variant.Weight.DeviceName()), ("BIAS", variant.Bias.DeviceName()),
            ("KV", variant.Kv.Type.DeviceName()), ("HEAD_DIM", variant.Kv.HeadDim), ("PAGE_TOKENS", variant.Kv.PageTokens),
            ("VECTOR", Matvec.VectorOf(variant.Weight, variant.Aligned)), ("ROWS", variant.Rows), ("LOADS", 4),
            ("THREADS", Threads));
    }

    /// <summary>True if what is wanted of the three has one type of weights, and one of biases.</summary>
    /// <param name="q">the queries, or none</param>
    /// <param name="weights">the projections; keys and values may be none</param>
    public static bool Takes(in Tensor q, in QkvWeights weights)
    {
        (DType weight, DType bias) = Types(q, weights);
        return (q.IsNone || Fits(weights.Query, weights.QueryBias))
            && (weights.Key.IsNone || (Fits(weights.Key, weights.KeyBias) && Fits(weights.Value, weights.ValueBias)));

        bool Fits(in Tensor matrix, in Tensor biases) => matrix.Type == weight && (biases.IsNone || biases.Type == bias);
    }

    static (DType Weight, DType Bias) Types(in Tensor q, in QkvWeights weights)
    {
        Tensor matrix = q.IsNone ? weights.Key : weights.Query;
        Tensor bias = !q.IsNone && !weights.QueryBias.IsNone ? weights.QueryBias
            : !weights.KeyBias.IsNone ? weights.KeyBias : weights.ValueBias;
        return (matrix.Type, bias.IsNone ? matrix.Type : bias.Type);
    }

    /// <param name="stream">where it is queued</param>
    /// <param name="kv">the shape of the store's pages, and where the layer's own keys and values live if it has any</param>
    /// <param name="q">(rows, heads * headDim) f32, or none</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="weights">the projections (<see cref="Takes"/>); without keys and values nothing is stored</param>
    /// <param name="cosSin">(rows, 2 * pairs) f32, or none</param>
    /// <param name="rows">positions and sequences</param>
    public void Launch(GpuStream stream, in KvView kv, in Tensor q, in Tensor x, in QkvWeights weights, in Tensor cosSin,
        in BatchRows rows)
    {
        int perBlock = Matvec.RowsPerBlock(x.Rows), heads = q.Columns / kv.HeadDim, kvHeads = weights.Key.Rows / kv.HeadDim;
        bool aligned = x.Columns % 4 == 0 && (q.IsNone || Matvec.IsAligned(weights.Query))
            && (weights.Key.IsNone || (Matvec.IsAligned(weights.Key) && Matvec.IsAligned(weights.Value)));
        bool ahead = ProgrammaticLaunch.On(library);
        (DType weight, DType bias) = Types(q, weights);
        long couples = (long)(heads + 2 * kvHeads) * (kv.HeadDim / 2);
        variants[new(weight, bias, aligned, perBlock, new(kv))].Launch(stream,
            new Grid(Grid.Blocks(couples, Threads / 32), Grid.Blocks(x.Rows, perBlock), 1, Threads) { Programmatic = ahead }, new()
            {
                Kv = new(kv), Q = q.Address, X = x.Address,
                Query = weights.Query.Address, Key = weights.Key.Address, Value = weights.Value.Address,
                QueryBias = weights.QueryBias.Address, KeyBias = weights.KeyBias.Address, ValueBias = weights.ValueBias.Address,
                CosSin = cosSin.Address, Positions = rows.Positions.Address, Sequences = rows.Sequences.Address,
                Rows = x.Rows, Inputs = x.Columns, Heads = heads, KvHeads = kvHeads, Pairs = cosSin.Columns / 2, Ahead = ahead ? 1 : 0,
            });
    }
}
