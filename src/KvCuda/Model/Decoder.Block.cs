// One layer: projections, attention, MLP or experts, and what some families add to them.
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Model;

internal sealed partial class Decoder
{
    /// <summary>The verbs of families that need more; there is a backend with them wherever such a family is loaded.</summary>
    IFamilyVerbs Family => backend.FamilyVerbs ?? throw new UnsupportedModelException(Needs(config, backend)!);

    /// <summary>
    /// Why a backend cannot run a model, or null: families that compute more than the common verbs need those of
    /// <see cref="IBackend.FamilyVerbs"/>.
    /// </summary>
    public static string? Needs(ModelConfig config, IBackend backend)
    {
        string? need = config switch
        {
            _ when backend.FamilyVerbs is not null => null,
            { AltUp: not null } => "several residual streams (AltUp)",
            { PerLayerInputs: not null } => "embeddings per layer",
            { Experts: not null } => "mixtures of experts",
            { ScoreCap: > 0 } => "capped attention scores",
            { PostNorms: true } => "norms behind attention and MLP",
            { EmbeddingScale: not 1 } or { ResidualScale: not 1 } or { LayerScalar: true } => "scaled embeddings and residuals",
            { LogitScale: not 1 } or { LogitCap: > 0 } => "scaled or capped logits",
            _ => null,
        };
        return need is null ? null
            : $"{config.Architecture} needs {need}, which {backend.Name} does not compute yet; run it with --device cpu.";
    }

    // What attention and MLP add goes straight into the stream, unless it is normalised or scaled first.
    bool AddsPlainly => !config.PostNorms && config.ResidualScale == 1 && config.AltUp is null;

    // What attention and MLP see.
    Tensor Seen(in Stream stream) => config.PreNorms ? stream.H : stream.X;

    void NormaliseIn(int layer, in Stream stream)
    {
        if (config.PreNorms)
        {
            Normalise(stream.H, stream.X, weights.Layers[layer].AttentionNorm, weights.Layers[layer].AttentionNormBias);
        }
    }

    // q = rotate(h Wq); k = rotate(h Wk), v = h Wv into the layer's pages. Layers that only read have neither of the latter.
    void Project(int layer, in Stream stream, bool queries, bool keysAndValues, in Tensor changed = default)
    {
        int rows = stream.Rows.Count;
        if (rows == 0)
        {
            return;
        }
        LayerWeights w = weights.Layers[layer];
        LayerConfig shape = config.LayerConfigs[layer];
        Tensor x = Seen(stream), cosSin = shape.Rope < 0 ? default : work.CosSin[shape.Rope].Top(rows);
        Tensor q = queries ? Part(work.Q, rows, shape.QuerySize) : default;
        Tensor k = keysAndValues ? Part(work.K, rows, shape.KvSize) : default;
        Tensor v = keysAndValues ? Part(work.V, rows, shape.KvSize) : default;
        KvView own = keysAndValues ? KvOf(layer) : kv[layer];
        if (config.HeadNorm == HeadNorm.None && !config.ValueNorm && !shape.KeyIsValue)
        {
            backend.MatMulQkv(own, q, k, v, x, new(w.Query, w.QueryBias, w.Key, w.KeyBias, w.Value, w.ValueBias), cosSin,
                stream.Rows, changed);
            return;
        }
        if (queries)
        {
            backend.MatMul(q, x, w.Query, w.QueryBias);
        }
        if (keysAndValues)
        {
            backend.MatMul(k, x, w.Key, w.KeyBias);
            if (shape.KeyIsValue)
            {
                backend.CopyBytes(v.Address, k.Address, k.Bytes);
            }
            else
            {
                backend.MatMul(v, x, w.Value, w.ValueBias);
            }
            if (config.ValueNorm)
            {
                NormaliseHeads(v, ones.Range(0, shape.HeadDim));
            }
        }
        if (config.HeadNorm is HeadNorm.BeforeRope or HeadNorm.Whole)
        {
            NormaliseHeads(q, w.QueryNorm);
            NormaliseHeads(k, w.KeyNorm);
            if (keysAndValues)
            {
                backend.RotateStoreKv(own, q, k, v, cosSin, stream.Rows, changed);
                return;
            }
        }
        Rotate(q, cosSin, shape.HeadDim);
        Rotate(k, cosSin, shape.HeadDim);
        if (config.HeadNorm == HeadNorm.AfterRope)
        {
            NormaliseHeads(q, w.QueryNorm);
            NormaliseHeads(k, w.KeyNorm);
        }
        if (keysAndValues)
        {
            backend.StoreKv(own, k, v, stream.Rows, changed);
        }
    }

    // x += attend(q, the keys and values of the layer it reads) Wo; where rows slide, q is rotated on towards the sinks
    void Attention(int layer, in Stream stream)
    {
        if (stream.Rows.Count == 0)
        {
            return;
        }
        LayerWeights w = weights.Layers[layer];
        Tensor attended = Attend(layer, stream);
        if (AddsPlainly)
        {
            backend.MatMulAdd(stream.X, attended, w.Output, w.OutputBias);
            return;
        }
        Tensor branch = work.Branch.Top(stream.Rows.Count);
        backend.MatMul(branch, attended, w.Output, w.OutputBias);
        AddBranch(stream.X, branch, w[TensorRole.PostAttentionNorm]);
    }

    // What the layer's heads gather, before the output projection.
    Tensor Attend(int layer, in Stream stream)
    {
        int rows = stream.Rows.Count;
        LayerConfig shape = config.LayerConfigs[layer];
        Tensor q = Part(work.Q, rows, shape.QuerySize), attended = Part(work.Attended, rows, shape.QuerySize), sinkQ = default;
        if (!stream.Rows.Streams.IsNone)
        {
            sinkQ = Part(work.SinkQ, rows, shape.QuerySize);
            backend.CopyBytes(sinkQ.Address, q.Address, q.Bytes);
            if (shape.Rope >= 0)
            {
                backend.Rotate(sinkQ, work.SinkCosSin[shape.Rope].Top(rows), shape.HeadDim);
            }
        }
        backend.Attend(attended, q, kv[layer], stream.Rows,
            new(config.AttentionScale, sharing.Window(layer), sharing.StrictlyEarlier(layer), config.ScoreCap), sinkQ);
        return attended;
    }

    // x += (act(h Wgate) * (h Wup)) Wdown, or act(h Wup) Wdown where the MLP has no gate; or the sum of some experts' MLPs
    void Mlp(int layer, in Stream stream)
    {
        if (stream.Rows.Count == 0)
        {
            return;
        }
        LayerWeights w = weights.Layers[layer];
        if (config.PreNorms && !config.ParallelBlock)
        {
            Normalise(stream.H, stream.X, w.MlpNorm, w.MlpNormBias);
        }
        if (AddsPlainly && experts[layer] is null)
        {
            backend.MatMulAdd(stream.X, Gated(layer, Seen(stream)), w.Down, w.DownBias);
            return;
        }
        Tensor branch = work.Branch.Top(stream.Rows.Count);
        if (experts[layer] is null)
        {
            backend.MatMul(branch, Gated(layer, Seen(stream)), w.Down, w.DownBias);
        }
        else if (config.Experts!.BesideMlp)
        {
            backend.MatMul(branch, Gated(layer, Seen(stream)), w.Down, w.DownBias);
            MixBeside(layer, stream, branch);
        }
        else
        {
            Mix(layer, branch, Seen(stream), Seen(stream));
        }
        AddBranch(stream.X, branch, w[TensorRole.PostMlpNorm]);
    }

    // The inner numbers of the layer's dense MLP.
    Tensor Gated(int layer, in Tensor seen)
    {
        LayerWeights w = weights.Layers[layer];
        LayerConfig shape = config.LayerConfigs[layer];
        Tensor gated = Part(work.Gated, seen.Rows, shape.MlpSize), up = Part(work.Up, seen.Rows, shape.MlpSize);
        if (w.Gate.IsNone)
        {
            backend.MatMul(gated, seen, w.Up, w.UpBias);
            backend.Activate(gated, config.Activation);
        }
        else if (shape.GateThreshold is { } threshold)
        {
            backend.MatMul(gated, seen, w.Gate, w.GateBias);
            Family.CutGates(gated, threshold);
            backend.MatMul(up, seen, w.Up, w.UpBias);
            backend.Gate(gated, gated, up, config.Activation);
        }
        else
        {
            backend.MatMulGate(gated, up, seen, w.Gate, w.Up, w.GateBias, w.UpBias, config.Activation);
        }
        return gated;
    }

    // y = the mixture of experts of x, chosen by what the router sees.
    void Mix(int layer, in Tensor y, in Tensor x, in Tensor routed)
    {
        LayerWeights w = weights.Layers[layer];
        Tensor logits = work.RouterLogits.Top(x.Rows), choices = work.Choices.Top(x.Rows), shares = work.Shares.Top(x.Rows);
        backend.MatMul(logits, routed, w[TensorRole.Router]);
        Family.Route(choices, shares, logits, w[TensorRole.ExpertScale], config.Experts!.Renormalise);
        Family.MixExperts(y, x, choices, shares, experts[layer]!, config.Activation);
    }

    // Gemma 4: branch = norm(branch) + norm(experts(norm(x))), routed by x without norm weights, scaled.
    void MixBeside(int layer, in Stream stream, in Tensor branch)
    {
        LayerWeights w = weights.Layers[layer];
        Tensor other = work.OtherBranch.Top(branch.Rows), routed = work.Routed.Top(branch.Rows);
        backend.RmsNorm(branch, branch, w[TensorRole.DenseNorm], config.NormEpsilon);
        backend.RmsNorm(routed, stream.X, w[TensorRole.RouterScale], config.NormEpsilon);
        Family.Scale(routed, 1 / MathF.Sqrt(config.HiddenSize));
        backend.RmsNorm(stream.H, stream.X, w[TensorRole.ExpertNorm], config.NormEpsilon);
        Mix(layer, other, stream.H, routed);
        backend.RmsNorm(other, other, w[TensorRole.PostExpertNorm], config.NormEpsilon);
        Family.Add(branch, other);
    }

    // x += scale * norm(branch), without a norm where the family has none.
    void AddBranch(in Tensor x, in Tensor branch, in Tensor norm)
    {
        if (!norm.IsNone)
        {
            backend.RmsNorm(branch, branch, norm, config.NormEpsilon);
        }
        Family.Add(x, branch, config.ResidualScale);
    }

    // What some families do to the stream at a layer's end: per-layer inputs, and a scalar.
    void Finish(int layer, in Stream stream)
    {
        if (stream.Rows.Count == 0)
        {
            return;
        }
        if (config.PerLayerInputs is not null)
        {
            AddInput(layer, stream, stream.X, [stream.X]);
        }
        if (config.LayerScalar)
        {
            Family.Scale(stream.X, layerScalars[layer]);
        }
    }

    // y = x / rms(x) * weight, or (x - mean) / deviation * weight + bias
    void Normalise(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias)
    {
        if (config.Norm == NormKind.Rms)
        {
            backend.RmsNorm(y, x, weight, config.NormEpsilon);
        }
        else
        {
            backend.LayerNorm(y, x, weight, bias.IsNone ? zeros : bias, config.NormEpsilon);
        }
    }

    // The norm that some families put before (Qwen3) or after (Hunyuan) the rotation of queries and keys: over as many numbers as
    // it has weights, a head or (OLMo 2) all of them.
    void NormaliseHeads(in Tensor x, in Tensor weight)
    {
        if (!x.IsNone)
        {
            Tensor heads = x.View((int)(x.Count / weight.Columns), weight.Columns);
            backend.RmsNorm(heads, heads, weight, config.NormEpsilon);
        }
    }

    void Rotate(in Tensor x, in Tensor cosSin, int headDim)
    {
        if (!x.IsNone && !cosSin.IsNone)
        {
            backend.Rotate(x, cosSin, headDim);
        }
    }

    // A buffer as a smaller matrix.
    static Tensor Part(in Tensor buffer, int rows, int columns) =>
        buffer.Columns == columns ? buffer.Top(rows) : new(buffer.Name, buffer.Type, buffer.Address, rows, columns);
}
