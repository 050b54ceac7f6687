using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Model;

/// <summary>
/// The transformer decoder, written once over the verbs. Which layer's keys and values a layer reads is the
/// <see cref="LayerSharing"/>'s answer; a layer that owns none has no K/V weights, pages or projection.
/// </summary>
internal sealed partial class Decoder
{
    IBackend backend; // another one only in the copy that Prepare makes
    readonly ModelConfig config;
    readonly ModelWeights weights;
    readonly LayerSharing sharing;
    readonly KvView[] ordinary, sliding; // by layer: where the layer it reads keeps its keys and values
    readonly Workspace work;
    readonly Tensor inverseFrequencies;
    KvView[] kv; // of this pass: ordinary, or sliding if some of its rows slide

    /// <param name="backend">runs the verbs</param>
    /// <param name="config">the model's shape</param>
    /// <param name="weights">its weights, loaded by <paramref name="backend"/></param>
    /// <param name="sharing">who owns keys and values and who reads whose</param>
    /// <param name="kvOfOwner">where an owning layer's keys and values live, by the page tables for ordinary or for sliding rows</param>
    /// <param name="maxRows">most rows of one pass</param>
    /// <param name="maxWanted">most rows whose logits are wanted</param>
    public Decoder(IBackend backend, ModelConfig config, ModelWeights weights, LayerSharing sharing,
        Func<int, bool, KvView> kvOfOwner, int maxRows, int maxWanted)
    {
        (this.backend, this.config, this.weights, this.sharing) = (backend, config, weights, sharing);
        ordinary = [.. Enumerable.Range(0, config.Layers).Select(layer => kvOfOwner(sharing.Target(layer), false))];
        sliding = [.. Enumerable.Range(0, config.Layers).Select(layer => kvOfOwner(sharing.Target(layer), true))];
        kv = ordinary;
        work = new Workspace(backend, config, maxRows, maxWanted);
        if (config.Rope is { } rope)
        {
            inverseFrequencies = backend.Allocate("inverse frequencies", DType.F32, 1, rope.InverseFrequencies.Length);
            backend.Write(inverseFrequencies, MemoryMarshal.AsBytes<float>(rope.InverseFrequencies));
        }
    }

    /// <summary>Some rows on their way through the layers.</summary>
    /// <param name="Rows">their tokens, positions and sequences</param>
    /// <param name="X">(rows, dim): their residual stream</param>
    /// <param name="H">(rows, dim): its normalised form</param>
    /// <param name="CosSin">(rows, 2 * pairs): their rotations</param>
    /// <param name="SinkCosSin">(rows, 2 * pairs): those of queries towards sinks, where some rows slide</param>
    readonly record struct Stream(BatchRows Rows, Tensor X, Tensor H, Tensor CosSin, Tensor SinkCosSin);

    /// <summary>
    /// Runs the batch through all layers, stores the keys and values of its rows and returns the wanted rows' logits.
    /// </summary>
    /// <returns>(wanted, vocabulary), valid until the next call</returns>
    public Tensor Forward(Batch batch, PrefillMode mode)
    {
        Passes = 1;
        kv = ordinary;
        if (batch.HasStreams)
        {
            kv = sliding;
            work.MakeStreams(backend);
        }
        if (!batch.IsDecode || backend.Recorder is not { } recorder)
        {
            return Walk(batch, mode);
        }
        // Every decode of so many rows, sliding or not, is the same list of verbs over the same addresses.
        if (!recorder.Replay(batch.RecordingKey))
        {
            recorder.BeginRecording(batch.RecordingKey);
            Walk(batch, mode);
            recorder.EndRecording();
        }
        return work.Logits.Top(batch.WantedCount);
    }

    Tensor Walk(Batch batch, PrefillMode mode)
    {
        Stream stream = Open(batch.Rows, work.X, work.H);
        backend.Embed(stream.X, weights.Embedding, batch.Rows.Tokens);
        if (!weights.PositionEmbedding.IsNone)
        {
            backend.EmbedAdd(stream.X, weights.PositionEmbedding, batch.Rows.Positions);
        }

        // Above the last owner nothing is stored, so only rows whose logits are wanted go on (YOCO's early exit).
        bool onlyWanted = batch.EveryRowIsWanted;
        for (int layer = 0; layer < config.Layers && stream.Rows.Count > 0; layer++)
        {
            if (batch.HasChunks && BlockFrom(layer) is { } block)
            {
                IterateBlock(block, batch, stream, mode);
                layer = block.Last;
            }
            else
            {
                Normalise(stream.H, stream.X, weights.Layers[layer].AttentionNorm, weights.Layers[layer].AttentionNormBias);
                if (layer == sharing.LastOwner && !onlyWanted)
                {
                    Project(layer, stream, queries: false, keysAndValues: true);
                    stream = KeepWanted(batch, stream);
                    onlyWanted = true;
                    Project(layer, stream, queries: true, keysAndValues: false);
                }
                else
                {
                    Project(layer, stream, queries: true, sharing.Owns(layer));
                }
                Attention(layer, stream);
                Mlp(layer, stream);
            }
            if (layer >= sharing.LastOwner && !onlyWanted)
            {
                stream = KeepWanted(batch, stream);
                onlyWanted = true;
            }
        }
        Tensor logits = work.Logits.Top(stream.Rows.Count);
        if (stream.Rows.Count > 0)
        {
            Normalise(stream.H, stream.X, weights.FinalNorm, weights.FinalNormBias);
            backend.MatMul(logits, stream.H, weights.Head);
        }
        return logits;
    }

    /// <summary>One layer, whole: x += attention(norm(x)); x += mlp(norm(x)).</summary>
    void Layer(int layer, in Stream stream, in Tensor changed)
    {
        Normalise(stream.H, stream.X, weights.Layers[layer].AttentionNorm, weights.Layers[layer].AttentionNormBias);
        Project(layer, stream, queries: true, sharing.Owns(layer), changed);
        Attention(layer, stream);
        Mlp(layer, stream);
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
        Tensor q = queries ? work.Q.Top(rows) : default;
        Tensor k = keysAndValues ? work.K.Top(rows) : default, v = keysAndValues ? work.V.Top(rows) : default;
        KvView own = keysAndValues ? KvOf(layer) : kv[layer];
        if (config.HeadNorm == HeadNorm.None)
        {
            backend.MatMulQkv(own, q, k, v, stream.H,
                new(w.Query, w.QueryBias, w.Key, w.KeyBias, w.Value, w.ValueBias), stream.CosSin, stream.Rows, changed);
            return;
        }
        if (queries)
        {
            backend.MatMul(q, stream.H, w.Query, w.QueryBias);
        }
        if (keysAndValues)
        {
            backend.MatMul(k, stream.H, w.Key, w.KeyBias);
            backend.MatMul(v, stream.H, w.Value, w.ValueBias);
        }
        if (config.HeadNorm == HeadNorm.BeforeRope)
        {
            NormaliseHeads(q, w.QueryNorm);
            NormaliseHeads(k, w.KeyNorm);
            if (keysAndValues)
            {
                backend.RotateStoreKv(own, q, k, v, stream.CosSin, stream.Rows, changed);
                return;
            }
        }
        Rotate(q, stream.CosSin);
        Rotate(k, stream.CosSin);
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
        Tensor q = work.Q.Top(stream.Rows.Count), attended = work.Attended.Top(stream.Rows.Count), sinkQ = default;
        if (!stream.Rows.Streams.IsNone)
        {
            sinkQ = work.SinkQ.Top(stream.Rows.Count);
            backend.CopyBytes(sinkQ.Address, q.Address, q.Bytes);
            backend.Rotate(sinkQ, stream.SinkCosSin, config.HeadDim);
        }
        backend.Attend(attended, q, kv[layer], stream.Rows,
            new(config.AttentionScale, sharing.Window(layer), sharing.StrictlyEarlier(layer)), sinkQ);
        backend.MatMulAdd(stream.X, attended, w.Output, w.OutputBias);
    }

    // x += (act(h Wgate) * (h Wup)) Wdown, or act(h Wup) Wdown where the MLP has no gate
    void Mlp(int layer, in Stream stream)
    {
        if (stream.Rows.Count == 0)
        {
            return;
        }
        LayerWeights w = weights.Layers[layer];
        Tensor gated = work.Gated.Top(stream.Rows.Count);
        Normalise(stream.H, stream.X, w.MlpNorm, w.MlpNormBias);
        if (w.Gate.IsNone)
        {
            backend.MatMul(gated, stream.H, w.Up, w.UpBias);
            backend.Activate(gated, config.Activation);
        }
        else
        {
            backend.MatMulGate(gated, work.Up.Top(stream.Rows.Count), stream.H, w.Gate, w.Up, w.GateBias, w.UpBias,
                config.Activation);
        }
        backend.MatMulAdd(stream.X, gated, w.Down, w.DownBias);
    }

    // y = x / rms(x) * weight, or with a bias (x - mean) / deviation * weight + bias
    void Normalise(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias)
    {
        if (bias.IsNone)
        {
            backend.RmsNorm(y, x, weight, config.NormEpsilon);
        }
        else
        {
            backend.LayerNorm(y, x, weight, bias, config.NormEpsilon);
        }
    }

    // The norm that some families put before (Qwen3) or after (Hunyuan) the rotation of queries and keys.
    void NormaliseHeads(in Tensor x, in Tensor weight)
    {
        if (!x.IsNone)
        {
            Tensor heads = x.View((int)(x.Count / config.HeadDim), config.HeadDim);
            backend.RmsNorm(heads, heads, weight, config.NormEpsilon);
        }
    }

    void Rotate(in Tensor x, in Tensor cosSin)
    {
        if (!x.IsNone && !cosSin.IsNone)
        {
            backend.Rotate(x, cosSin, config.HeadDim);
        }
    }

    Stream Open(in BatchRows rows, in Tensor x, in Tensor h)
    {
        Tensor cosSin = default, sinkCosSin = default;
        if (config.Rope is { } rope)
        {
            cosSin = work.CosSin.Top(rows.Count);
            backend.RopeAngles(cosSin, rows.TruePositions, inverseFrequencies, rope.Scale);
            if (!rows.Streams.IsNone)
            {
                sinkCosSin = work.SinkCosSin.Top(rows.Count);
                backend.RopeAngles(sinkCosSin, rows.Streams.SinkTurns, inverseFrequencies, scale: 1); // on top of q's own
            }
        }
        return new(rows, x.Top(rows.Count), h.Top(rows.Count), cosSin, sinkCosSin);
    }

    Stream KeepWanted(Batch batch, in Stream stream)
    {
        BatchRows wanted = batch.Wanted;
        if (wanted.Count == 0)
        {
            return stream with { Rows = wanted };
        }
        Stream kept = Open(wanted, work.Narrow, work.NarrowH);
        backend.Gather(kept.X, stream.X, wanted.Tokens);
        backend.Gather(kept.H, stream.H, wanted.Tokens);
        return kept;
    }

    KvView KvOf(int owner) => kv[sharing.Readers(owner)[0]];
}
