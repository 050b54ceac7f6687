using KvCuda.Backends;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Model;

/// <summary>The activations of a forward pass, f32, made once for the largest pass and used from the top.</summary>
internal sealed class Workspace
{
    /// <param name="backend">where the pass will run</param>
    /// <param name="config">the shape of the model</param>
    /// <param name="rows">most rows of one pass</param>
    /// <param name="wanted">most rows whose logits are wanted</param>
    public Workspace(IBackend backend, ModelConfig config, int rows, int wanted)
    {
        int dim = config.HiddenSize, queries = config.Heads * config.HeadDim, keys = config.KvHeads * config.HeadDim;
        X = backend.Allocate("x", DType.F32, rows, dim);
        BlockInput = backend.Allocate("block input", DType.F32, rows, dim);
        Narrow = backend.Allocate("narrow x", DType.F32, rows, dim);
        H = backend.Allocate("h", DType.F32, rows, dim);
        NarrowH = backend.Allocate("narrow h", DType.F32, rows, dim);
        Q = backend.Allocate("q", DType.F32, rows, queries);
        K = backend.Allocate("k", DType.F32, rows, keys);
        V = backend.Allocate("v", DType.F32, rows, keys);
        Attended = backend.Allocate("attended", DType.F32, rows, queries);
        Gated = backend.Allocate("gated", DType.F32, rows, config.MlpSize);
        Up = backend.Allocate("up", DType.F32, rows, config.MlpSize);
        CosSin = config.Rope is { } rope
            ? backend.Allocate("cos sin", DType.F32, rows, 2 * rope.InverseFrequencies.Length)
            : default;
        Changed = backend.Allocate("changed", DType.I32, 1, rows);
        Active = backend.Allocate("active rows", DType.I32, ActiveRows.NumbersOfStreams, rows);
        Logits = backend.Allocate("logits", DType.F32, wanted, config.Vocabulary);
    }

    /// <summary>(rows, dim): the residual stream.</summary>
    public Tensor X { get; }

    /// <summary>(rows, dim): the residual stream as an iterated block found it.</summary>
    public Tensor BlockInput { get; }

    /// <summary>(rows, dim): the residual stream of fewer rows than the batch has.</summary>
    public Tensor Narrow { get; }

    /// <summary>(rows, dim): normalised x.</summary>
    public Tensor H { get; }

    /// <summary>(rows, dim): normalised x of fewer rows.</summary>
    public Tensor NarrowH { get; }

    /// <summary>(rows, heads * headDim).</summary>
    public Tensor Q { get; }

    /// <summary>(rows, kvHeads * headDim).</summary>
    public Tensor K { get; }

    /// <summary>(rows, kvHeads * headDim).</summary>
    public Tensor V { get; }

    /// <summary>(rows, heads * headDim): what attention gives.</summary>
    public Tensor Attended { get; }

    /// <summary>(rows, mlp).</summary>
    public Tensor Gated { get; }

    /// <summary>(rows, mlp): scratch of the gated MLP.</summary>
    public Tensor Up { get; }

    /// <summary>(rows, 2 * pairs), or none for learned positions.</summary>
    public Tensor CosSin { get; }

    /// <summary>(1, rows) i32: rows whose stored keys or values changed in a pass.</summary>
    public Tensor Changed { get; }

    /// <summary>(8, rows) i32: what <see cref="ActiveRows.Describe"/> says of the rows that still iterate.</summary>
    public Tensor Active { get; }

    /// <summary>(rows, heads * headDim): queries towards sinks; none before <see cref="MakeStreams"/>.</summary>
    public Tensor SinkQ { get; private set; }

    /// <summary>(rows, 2 * pairs): their rotations; none before <see cref="MakeStreams"/>.</summary>
    public Tensor SinkCosSin { get; private set; }

    /// <summary>Makes what passes with sliding rows need, once.</summary>
    public void MakeStreams(IBackend backend)
    {
        if (SinkQ.IsNone)
        {
            SinkQ = backend.Allocate("queries towards sinks", DType.F32, Q.Rows, Q.Columns);
            SinkCosSin = backend.Allocate("cos sin towards sinks", DType.F32, CosSin.Rows, CosSin.Columns);
        }
    }

    /// <summary>(wanted, vocabulary).</summary>
    public Tensor Logits { get; }
}
