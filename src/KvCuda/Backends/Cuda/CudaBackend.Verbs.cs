using KvCuda.Gpu;
using KvCuda.Kernels;
using KvCuda.Kernels.Attention;
using KvCuda.Kernels.Embed;
using KvCuda.Kernels.Kv;
using KvCuda.Kernels.Matmul;
using KvCuda.Kernels.Mlp;
using KvCuda.Kernels.Norm;
using KvCuda.Kernels.Rope;
using KvCuda.Kernels.Sample;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cuda;

// The verbs: checks as on the CPU, then one launch, or the few that the plan says.
internal sealed partial class CudaBackend
{
    // --- tokens to vectors ---

    public void Embed(in Tensor x, in Tensor table, in Tensor index)
    {
        Counters.Count(nameof(Embed));
        Expect.Shape(x, index.Columns, table.Columns);
        using GpuContext.Scope scope = Begin();
        if (x.Rows > 0)
        {
            embedTokens.Launch(stream, x, table, index, add: false);
        }
    }

    public void EmbedAdd(in Tensor x, in Tensor table, in Tensor index)
    {
        Counters.Count(nameof(EmbedAdd));
        Expect.Shape(x, index.Columns, table.Columns);
        using GpuContext.Scope scope = Begin();
        if (x.Rows > 0)
        {
            embedTokens.Launch(stream, x, table, index, add: true);
        }
    }

    public void Gather(in Tensor y, in Tensor x, in Tensor index)
    {
        Counters.Count(nameof(Gather));
        Expect.Shape(y, index.Columns, x.Columns);
        using GpuContext.Scope scope = Begin();
        if (y.Rows > 0)
        {
            gatherRows.Launch(stream, y, x, index);
        }
    }

    public void Scatter(in Tensor y, in Tensor x, in Tensor index)
    {
        Counters.Count(nameof(Scatter));
        Expect.Shape(x, index.Columns, y.Columns);
        using GpuContext.Scope scope = Begin();
        if (x.Rows > 0)
        {
            scatterRows.Launch(stream, y, x, index);
        }
    }

    // --- norms ---

    public void RmsNorm(in Tensor y, in Tensor x, in Tensor weight, float epsilon)
    {
        Counters.Count(nameof(RmsNorm));
        Expect.Shape(y, x.Rows, x.Columns);
        Expect.Shape(weight, 1, x.Columns);
        using GpuContext.Scope scope = Begin();
        if (x.Rows > 0)
        {
            rmsNorm.Launch(stream, y, x, weight, epsilon);
        }
    }

    public void LayerNorm(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon)
    {
        Counters.Count(nameof(LayerNorm));
        Expect.Shape(y, x.Rows, x.Columns);
        Expect.Shape(weight, 1, x.Columns);
        Expect.Shape(bias, 1, x.Columns);
        using GpuContext.Scope scope = Begin();
        if (x.Rows > 0)
        {
            layerNorm.Launch(stream, y, x, weight, bias, epsilon);
        }
    }

    // --- products ---

    public void MatMul(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default)
    {
        Counters.Count(nameof(MatMul));
        Product(y, x, weight, bias, Epilogue.Store);
    }

    public void MatMulAdd(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default)
    {
        Counters.Count(nameof(MatMulAdd));
        Product(y, x, weight, bias, Epilogue.Add);
    }

    public void MatMulGate(in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight,
        in Tensor gateBias, in Tensor upBias, Activation activation)
    {
        Counters.Count(nameof(MatMulGate));
        Expect.Shape(g, x.Rows, gateWeight.Rows);
        Expect.Shape(gateWeight, gateWeight.Rows, x.Columns);
        Expect.Shape(upWeight, gateWeight.Rows, x.Columns);
        if (gateBias.IsNone && upBias.IsNone)
        {
            using GpuContext.Scope scope = Begin();
            matmul.LaunchGate(stream, g, x, gateWeight, upWeight, activation);
        }
        else
        {
            Product(g, x, gateWeight, gateBias, Epilogue.Store);
            Product(g, x, upWeight, upBias, Epilogue.Gate(activation));
        }
    }

    void Product(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue)
    {
        ExpectProjection(y, x, weight, bias);
        using GpuContext.Scope scope = Begin();
        matmul.Launch(stream, y, x, weight, bias, epilogue);
    }

    // --- element-wise ---

    public void Gate(in Tensor y, in Tensor gate, in Tensor up, Activation activation)
    {
        Counters.Count(nameof(Gate));
        Expect.Shape(y, gate.Rows, gate.Columns);
        Expect.Shape(up, gate.Rows, gate.Columns);
        using GpuContext.Scope scope = Begin();
        if (y.Rows > 0)
        {
            gateUp.Launch(stream, y, gate, up, activation);
        }
    }

    public void Activate(in Tensor x, Activation activation)
    {
        Counters.Count(nameof(Activate));
        using GpuContext.Scope scope = Begin();
        if (x.Rows > 0)
        {
            activate.Launch(stream, x, activation);
        }
    }

    // --- positions and the key/value store ---

    public void RopeAngles(in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale)
    {
        Counters.Count(nameof(RopeAngles));
        Expect.Shape(positions, 1, cosSin.Rows);
        Expect.Shape(inverseFrequency, 1, cosSin.Columns / 2);
        using GpuContext.Scope scope = Begin();
        if (cosSin.Rows > 0)
        {
            ropeAngles.Launch(stream, cosSin, positions, inverseFrequency, scale);
        }
    }

    public void Rotate(in Tensor x, in Tensor cosSin, int headDim)
    {
        Counters.Count(nameof(Rotate));
        Expect.Shape(cosSin, x.Rows, cosSin.Columns);
        using GpuContext.Scope scope = Begin();
        if (x.Rows > 0)
        {
            rotate.Launch(stream, x, cosSin, headDim);
        }
    }

    public void StoreKv(in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed = default)
    {
        Counters.Count(nameof(StoreKv));
        Expect.Shape(k, rows.Count, kv.KvHeads * kv.HeadDim);
        Expect.Shape(v, rows.Count, kv.KvHeads * kv.HeadDim);
        using GpuContext.Scope scope = Begin();
        if (rows.Count > 0)
        {
            storeKv.Launch(stream, kv, k, v, rows, changed);
        }
    }

    public void RotateStoreKv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin, in BatchRows rows,
        in Tensor changed = default)
    {
        Counters.Count(nameof(RotateStoreKv));
        RotateAndStore(kv, q, k, v, cosSin, rows, changed);
    }

    public void MatMulQkv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor x, in QkvWeights weights,
        in Tensor cosSin, in BatchRows rows, in Tensor changed = default)
    {
        Counters.Count(nameof(MatMulQkv));
        QkvWeights wanted = k.IsNone ? weights with { Key = default, KeyBias = default, Value = default, ValueBias = default } : weights;
        // Whether a row changed is one block's to say, so there the composition runs.
        if (changed.IsNone && matmul.FusesQkv(x.Rows, q, wanted))
        {
            ExpectProjection(q, x, wanted.Query, wanted.QueryBias);
            ExpectProjection(k, x, wanted.Key, wanted.KeyBias);
            ExpectProjection(v, x, wanted.Value, wanted.ValueBias);
            using GpuContext.Scope scope = Begin();
            matmul.LaunchQkv(stream, kv, q, x, wanted, cosSin, rows);
            return;
        }
        if (!q.IsNone)
        {
            Product(q, x, weights.Query, weights.QueryBias, Epilogue.Store);
        }
        if (!k.IsNone)
        {
            Product(k, x, weights.Key, weights.KeyBias, Epilogue.Store);
            Product(v, x, weights.Value, weights.ValueBias, Epilogue.Store);
            RotateAndStore(kv, q, k, v, cosSin, rows, changed);
        }
        else if (!q.IsNone && !cosSin.IsNone && x.Rows > 0)
        {
            using GpuContext.Scope scope = Begin();
            rotate.Launch(stream, q, cosSin, kv.HeadDim);
        }
    }

    void RotateAndStore(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin, in BatchRows rows, in Tensor changed)
    {
        Expect.Shape(k, rows.Count, kv.KvHeads * kv.HeadDim);
        Expect.Shape(v, rows.Count, kv.KvHeads * kv.HeadDim);
        if (!q.IsNone)
        {
            Expect.Shape(q, rows.Count, q.Columns);
        }
        using GpuContext.Scope scope = Begin();
        if (rows.Count > 0)
        {
            rotateStoreKv.Launch(stream, kv, q, k, v, cosSin, rows, changed);
        }
    }

    static void ExpectProjection(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias)
    {
        if (y.IsNone)
        {
            return;
        }
        Expect.Shape(y, x.Rows, weight.Rows);
        Expect.Shape(weight, weight.Rows, x.Columns);
        if (!bias.IsNone)
        {
            Expect.Shape(bias, 1, weight.Rows);
        }
    }

    public void ZeroKv(in KvView kv, in BatchRows rows)
    {
        Counters.Count(nameof(ZeroKv));
        using GpuContext.Scope scope = Begin();
        if (rows.Count > 0)
        {
            zeroKv.Launch(stream, kv, rows);
        }
    }

    public void Attend(in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery = default)
    {
        Counters.Count(nameof(Attend));
        Expect.Shape(q, rows.Count, q.Columns);
        Expect.Shape(y, rows.Count, q.Columns);
        Expect.Streams(rows, q, sinkQuery);
        using GpuContext.Scope scope = Begin();
        if (rows.Count == 0)
        {
            return;
        }
        long bytes = attention.ScratchBytes(q, kv, rows.Count);
        attention.Launch(stream, y, q, kv, rows, mask, sinkQuery, bytes > 0 ? Scratch(bytes) : 0);
    }

    // --- the next token ---

    public void Sample(in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history)
    {
        Counters.Count(nameof(Sample));
        Expect.Shape(tokens, 1, logits.Rows);
        Expect.Shape(parameters, logits.Rows, Tensors.SampleRow.Words);
        using GpuContext.Scope scope = Begin();
        if (logits.Rows > 0)
        {
            sampleRow.Launch(stream, tokens, logits, parameters, history);
        }
    }

    // --- launchers ---

    EmbedTokens embedTokens = null!;
    GatherRows gatherRows = null!;
    ScatterRows scatterRows = null!;
    RmsNorm rmsNorm = null!;
    LayerNorm layerNorm = null!;
    MatmulKernels matmul = null!;
    Gate gateUp = null!;
    Activate activate = null!;
    RopeAngles ropeAngles = null!;
    Rotate rotate = null!;
    StoreKv storeKv = null!;
    RotateStoreKv rotateStoreKv = null!;
    ZeroKv zeroKv = null!;
    AttentionKernels attention = null!;
    Kernels.Sample.SampleRow sampleRow = null!;

    void MakeLaunchers(Numerics numerics)
    {
        embedTokens = new(library);
        gatherRows = new(library);
        scatterRows = new(library);
        rmsNorm = new(library);
        layerNorm = new(library);
        matmul = new(library) { Consistent = numerics != Numerics.Fast, Exact = numerics == Numerics.Exact };
        gateUp = new(library);
        activate = new(library);
        ropeAngles = new(library);
        rotate = new(library);
        storeKv = new(library);
        rotateStoreKv = new(library);
        zeroKv = new(library);
        attention = new(library) { Exact = numerics == Numerics.Exact };
        sampleRow = new(library);
    }
}
