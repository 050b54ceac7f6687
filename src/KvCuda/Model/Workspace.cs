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
        int dim = config.HiddenSize, queries = config.QuerySize, keys = config.KvSize;
        X = backend.Allocate("x", DType.F32, rows, dim);
        BlockInput = backend.Allocate("block input", DType.F32, rows, dim);
        Narrow = backend.Allocate("narrow x", DType.F32, rows, dim);
        H = backend.Allocate("h", DType.F32, rows, dim);
        NarrowH = backend.Allocate("narrow h", DType.F32, rows, dim);
        Q = backend.Allocate("q", DType.F32, rows, queries);
        K = backend.Allocate("k", DType.F32, rows, keys);
        V = backend.Allocate("v", DType.F32, rows, keys);
        Attended = backend.Allocate("attended", DType.F32, rows, queries);
        if (config.MlpSize > 0)
        {
            Gated = backend.Allocate("gated", DType.F32, rows, config.MlpSize);
            Up = backend.Allocate("up", DType.F32, rows, config.MlpSize);
        }
        CosSin = [.. config.Ropes.Select(rope => backend.Allocate("cos sin", DType.F32, rows, rope.RotatedDim))];
        if (config.PostNorms || config.ResidualScale != 1 || config.Experts is not null)
        {
            Branch = backend.Allocate("branch", DType.F32, rows, dim);
        }
        MakeExperts(backend, config, rows);
        MakeStreamsOf(backend, config, rows);
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

    /// <summary>(rows, 2 * pairs) for each rope; none for learned positions.</summary>
    public Tensor[] CosSin { get; }

    /// <summary>(rows, dim): what attention or MLP give, where it is not added at once.</summary>
    public Tensor Branch { get; }

    /// <summary>(rows, dim): what experts give beside a dense MLP.</summary>
    public Tensor OtherBranch { get; private set; }

    /// <summary>(rows, dim): what the router of such experts sees.</summary>
    public Tensor Routed { get; private set; }

    /// <summary>(rows, experts).</summary>
    public Tensor RouterLogits { get; private set; }

    /// <summary>(rows, chosen) i32.</summary>
    public Tensor Choices { get; private set; }

    /// <summary>(rows, chosen).</summary>
    public Tensor Shares { get; private set; }

    /// <summary>(rows, layers * size): per-layer embeddings.</summary>
    public Tensor Inputs { get; private set; }

    /// <summary>The same of fewer rows.</summary>
    public Tensor NarrowInputs { get; private set; }

    /// <summary>(rows, layers * size): scratch of the same.</summary>
    public Tensor InputContext { get; private set; }

    /// <summary>(rows, size).</summary>
    public Tensor InputGate { get; private set; }

    /// <summary>(rows, size): one layer's part of <see cref="Inputs"/>.</summary>
    public Tensor OwnInput { get; private set; }

    /// <summary>(rows, dim) for each residual stream.</summary>
    public Tensor[] Streams { get; private set; } = [];

    /// <summary>The same of fewer rows.</summary>
    public Tensor[] NarrowStreams { get; private set; } = [];

    /// <summary>(rows, dim) for each residual stream: as predicted.</summary>
    public Tensor[] Predicted { get; private set; } = [];

    /// <summary>(rows, streams).</summary>
    public Tensor Modality { get; private set; }

    /// <summary>(rows, streams * streams).</summary>
    public Tensor Coefficients { get; private set; }

    /// <summary>(rows, rank).</summary>
    public Tensor LowRank { get; private set; }

    void MakeExperts(IBackend backend, ModelConfig config, int rows)
    {
        if (config.Experts is not { } experts)
        {
            return;
        }
        RouterLogits = backend.Allocate("router logits", DType.F32, rows, experts.Count);
        Choices = backend.Allocate("chosen experts", DType.I32, rows, experts.Chosen);
        Shares = backend.Allocate("shares of experts", DType.F32, rows, experts.Chosen);
        if (experts.BesideMlp)
        {
            OtherBranch = backend.Allocate("experts", DType.F32, rows, config.HiddenSize);
            Routed = backend.Allocate("routed", DType.F32, rows, config.HiddenSize);
        }
    }

    void MakeStreamsOf(IBackend backend, ModelConfig config, int rows)
    {
        if (config.PerLayerInputs is { } inputs)
        {
            Tensor Make(string name, int columns) => backend.Allocate(name, DType.F32, rows, columns);
            Inputs = Make("inputs per layer", config.Layers * inputs.Size);
            NarrowInputs = Make("narrow inputs per layer", config.Layers * inputs.Size);
            InputContext = Make("context per layer", config.Layers * inputs.Size);
            InputGate = Make("input gate", inputs.Size);
            OwnInput = Make("own input", inputs.Size);
        }
        if (config.AltUp is { } altUp)
        {
            Tensor[] Make(string name) => [.. Enumerable.Range(0, altUp.Streams)
                .Select(_ => backend.Allocate(name, DType.F32, rows, config.HiddenSize))];
            (Streams, NarrowStreams, Predicted) = (Make("stream"), Make("narrow stream"), Make("predicted stream"));
            Modality = backend.Allocate("modality", DType.F32, rows, altUp.Streams);
            Coefficients = backend.Allocate("coefficients", DType.F32, rows, altUp.Streams * altUp.Streams);
            LowRank = backend.Allocate("low rank", DType.F32, rows, altUp.Rank);
        }
    }

    /// <summary>(1, rows) i32: rows whose stored keys or values changed in a pass.</summary>
    public Tensor Changed { get; }

    /// <summary>(8, rows) i32: what <see cref="ActiveRows.Describe"/> says of the rows that still iterate.</summary>
    public Tensor Active { get; }

    /// <summary>(rows, heads * headDim): queries towards sinks; none before <see cref="MakeStreams"/>.</summary>
    public Tensor SinkQ { get; private set; }

    /// <summary>(rows, 2 * pairs) for each rope: their rotations; none before <see cref="MakeStreams"/>.</summary>
    public Tensor[] SinkCosSin { get; private set; } = [];

    /// <summary>Makes what passes with sliding rows need, once.</summary>
    public void MakeStreams(IBackend backend)
    {
        if (SinkQ.IsNone)
        {
            SinkQ = backend.Allocate("queries towards sinks", DType.F32, Q.Rows, Q.Columns);
            SinkCosSin = [.. CosSin.Select(t => backend.Allocate("cos sin towards sinks", DType.F32, t.Rows, t.Columns))];
        }
    }

    /// <summary>(wanted, vocabulary).</summary>
    public Tensor Logits { get; }
}
