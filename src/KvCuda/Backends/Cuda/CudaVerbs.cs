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

/// <summary>
/// The bodies of the verbs as launches: one each, or the few that the plan says. On the stream of a device they run
/// (<see cref="CudaBackend"/>); on a stream that leads nowhere they only ask for their kernels
/// (<see cref="PlanningBackend"/>).
/// </summary>
internal abstract class CudaVerbs : Verbs
{
    readonly EmbedTokens embedTokens;
    readonly GatherRows gatherRows;
    readonly ScatterRows scatterRows;
    readonly RmsNorm rmsNorm;
    readonly LayerNorm layerNorm;
    readonly MatmulKernels matmul;
    readonly Gate gateUp;
    readonly Activate activate;
    readonly RopeAngles ropeAngles;
    readonly Rotate rotate;
    readonly StoreKv storeKv;
    readonly RotateStoreKv rotateStoreKv;
    readonly ZeroKv zeroKv;
    readonly AttentionKernels attention;
    readonly Kernels.Sample.SampleRow sampleRow;
    private protected readonly KernelLibrary library;
    private protected readonly GpuStream stream;

    /// <param name="library">the kernels</param>
    /// <param name="stream">where they are queued</param>
    /// <param name="numerics">what a row's bits may depend on</param>
    protected CudaVerbs(KernelLibrary library, GpuStream stream, Numerics numerics)
    {
        this.library = library;
        this.stream = stream;
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

    /// <summary>The kernels that were asked for so far.</summary>
    public KernelLibrary Library => library;

    /// <summary>Every verb starts here: the context is this thread's, and nothing has failed so far.</summary>
    protected abstract GpuContext.Scope Begin();

    /// <summary>Memory that verbs use among themselves, in stream order.</summary>
    protected abstract nint Scratch(long bytes);

    /// <summary>Few rows cost what they are; of larger batches a graph serves several sizes.</summary>
    public int BucketOf(int rows) => rows <= 8 ? rows : rows <= 32 ? (rows + 3) & ~3 : (rows + 15) & ~15;

    protected override void EmbedRows(in Tensor x, in Tensor table, in Tensor index, bool add)
    {
        using GpuContext.Scope scope = Begin();
        embedTokens.Launch(stream, x, table, index, add);
    }

    protected override void GatherRows(in Tensor y, in Tensor x, in Tensor index)
    {
        using GpuContext.Scope scope = Begin();
        gatherRows.Launch(stream, y, x, index);
    }

    protected override void ScatterRows(in Tensor y, in Tensor x, in Tensor index)
    {
        using GpuContext.Scope scope = Begin();
        scatterRows.Launch(stream, y, x, index);
    }

    protected override void RmsNormRows(in Tensor y, in Tensor x, in Tensor weight, float epsilon)
    {
        using GpuContext.Scope scope = Begin();
        rmsNorm.Launch(stream, y, x, weight, epsilon);
    }

    protected override void LayerNormRows(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon)
    {
        using GpuContext.Scope scope = Begin();
        layerNorm.Launch(stream, y, x, weight, bias, epsilon);
    }

    protected override void Multiply(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, bool add) =>
        Multiply(y, x, weight, bias, add ? Epilogue.Add : Epilogue.Store);

    void Multiply(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, Epilogue epilogue)
    {
        using GpuContext.Scope scope = Begin();
        matmul.Launch(stream, y, x, weight, bias, epilogue);
    }

    protected override void MultiplyGate(in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight,
        in Tensor gateBias, in Tensor upBias, Activation activation)
    {
        if (gateBias.IsNone && upBias.IsNone)
        {
            using GpuContext.Scope scope = Begin();
            matmul.LaunchGate(stream, g, x, gateWeight, upWeight, activation);
        }
        else
        {
            Multiply(g, x, gateWeight, gateBias, Epilogue.Store);
            Multiply(g, x, upWeight, upBias, Epilogue.Gate(activation));
        }
    }

    protected override void GateRows(in Tensor y, in Tensor gate, in Tensor up, Activation activation)
    {
        using GpuContext.Scope scope = Begin();
        gateUp.Launch(stream, y, gate, up, activation);
    }

    protected override void ActivateRows(in Tensor x, Activation activation)
    {
        using GpuContext.Scope scope = Begin();
        activate.Launch(stream, x, activation);
    }

    protected override void Angles(in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale)
    {
        using GpuContext.Scope scope = Begin();
        ropeAngles.Launch(stream, cosSin, positions, inverseFrequency, scale);
    }

    protected override void RotateRows(in Tensor x, in Tensor cosSin, int headDim)
    {
        using GpuContext.Scope scope = Begin();
        rotate.Launch(stream, x, cosSin, headDim);
    }

    protected override void Store(in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed)
    {
        using GpuContext.Scope scope = Begin();
        storeKv.Launch(stream, kv, k, v, rows, changed);
    }

    protected override void RotateStore(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin,
        in BatchRows rows, in Tensor changed)
    {
        using GpuContext.Scope scope = Begin();
        rotateStoreKv.Launch(stream, kv, q, k, v, cosSin, rows, changed);
    }

    protected override void MultiplyQkv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor x,
        in QkvWeights weights, in Tensor cosSin, in BatchRows rows, in Tensor changed)
    {
        QkvWeights wanted = k.IsNone
            ? weights with { Key = default, KeyBias = default, Value = default, ValueBias = default }
            : weights;
        // Whether a row changed is one block's to say, so there the composition runs.
        if (changed.IsNone && matmul.FusesQkv(x.Rows, q, wanted))
        {
            using GpuContext.Scope scope = Begin();
            matmul.LaunchQkv(stream, kv, q, x, wanted, cosSin, rows);
        }
        else
        {
            base.MultiplyQkv(kv, q, k, v, x, weights, cosSin, rows, changed);
        }
    }

    protected override void Zero(in KvView kv, in BatchRows rows)
    {
        using GpuContext.Scope scope = Begin();
        zeroKv.Launch(stream, kv, rows);
    }

    protected override void AttendRows(in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery)
    {
        using GpuContext.Scope scope = Begin();
        long bytes = attention.ScratchBytes(q, kv, rows.Count);
        attention.Launch(stream, y, q, kv, rows, mask, sinkQuery, bytes > 0 ? Scratch(bytes) : 0);
    }

    protected override void SampleRows(in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history)
    {
        using GpuContext.Scope scope = Begin();
        sampleRow.Launch(stream, tokens, logits, parameters, history);
    }
}
