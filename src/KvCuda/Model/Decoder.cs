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
    readonly Tensor[] inverseFrequencies; // by rope
    readonly Tensor ones, zeros; // norms without weight, and without bias
    readonly float[] layerScalars;
    readonly ExpertWeights[]?[] experts; // by layer
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
        inverseFrequencies = [.. config.Ropes.Select(rope => Constant(backend, "inverse frequencies", rope.InverseFrequencies))];
        ones = config.ValueNorm ? Constant(backend, "ones", [.. Enumerable.Repeat(1f, config.HeadDim)]) : default;
        zeros = config is { Norm: NormKind.Layer, NormBias: false }
            ? Constant(backend, "zeros", new float[config.HiddenSize]) : default;
        layerScalars = config.LayerScalar ? [.. weights.Layers.Select(layer => Number(backend, layer[TensorRole.LayerScalar]))] : [];
        experts = [.. config.LayerConfigs.Select((shape, layer) => shape.HasExperts
            ? Enumerable.Range(0, config.Experts!.Count).Select(weights.Layers[layer].Expert).ToArray() : null)];
    }

    static Tensor Constant(IBackend backend, string name, float[] numbers)
    {
        Tensor tensor = backend.Allocate(name, DType.F32, 1, numbers.Length);
        backend.Write(tensor, MemoryMarshal.AsBytes<float>(numbers));
        return tensor;
    }

    static float Number(IBackend backend, in Tensor tensor)
    {
        Span<byte> bytes = stackalloc byte[tensor.Type.Bytes()];
        backend.Read(bytes, tensor);
        return tensor.Type switch
        {
            DType.F32 => MemoryMarshal.Read<float>(bytes),
            DType.F16 => (float)MemoryMarshal.Read<Half>(bytes),
            _ => BF16.ToSingle(MemoryMarshal.Read<ushort>(bytes)),
        };
    }

    /// <summary>Some rows on their way through the layers.</summary>
    /// <param name="Rows">their tokens, positions and sequences</param>
    /// <param name="X">(rows, dim): their residual stream</param>
    /// <param name="H">(rows, dim): its normalised form</param>
    /// <param name="Inputs">(rows, layers * size): their per-layer embeddings, or none</param>
    /// <param name="Others">with several streams: all of them, of which X is not one; else null</param>
    readonly record struct Stream(BatchRows Rows, Tensor X, Tensor H, Tensor Inputs = default, Tensor[]? Others = null);

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
        if (config.EmbeddingScale != 1)
        {
            Family.Scale(stream.X, config.EmbeddingScale);
        }
        if (!weights.PositionEmbedding.IsNone)
        {
            backend.EmbedAdd(stream.X, weights.PositionEmbedding, batch.Rows.Positions);
        }
        stream = WithStreams(WithInputs(stream));

        // Above the last owner nothing is stored, so only rows whose logits are wanted go on (YOCO's early exit).
        bool onlyWanted = batch.EveryRowIsWanted;
        for (int layer = 0; layer < config.Layers && stream.Rows.Count > 0; layer++)
        {
            if (batch.HasChunks && BlockFrom(layer) is { } block)
            {
                IterateBlock(block, batch, stream, mode);
                layer = block.Last;
            }
            else if (config.AltUp is not null)
            {
                StreamsLayer(layer, stream);
            }
            else
            {
                NormaliseIn(layer, stream);
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
                Finish(layer, stream);
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
            if (config.AltUp is not null)
            {
                JoinStreams(stream);
            }
            Normalise(stream.H, stream.X, weights.FinalNorm, weights.FinalNormBias);
            backend.MatMul(logits, stream.H, weights.Head);
            if (config.LogitScale != 1 || config.LogitCap > 0)
            {
                Family.Scale(logits, config.LogitScale, config.LogitCap);
            }
        }
        return logits;
    }

    /// <summary>One layer, whole: x += attention(norm(x)); x += mlp(norm(x)).</summary>
    void Layer(int layer, in Stream stream, in Tensor changed)
    {
        NormaliseIn(layer, stream);
        Project(layer, stream, queries: true, sharing.Owns(layer), changed);
        Attention(layer, stream);
        Mlp(layer, stream);
        Finish(layer, stream);
    }

    Stream Open(in BatchRows rows, in Tensor x, in Tensor h)
    {
        for (int rope = 0; rope < config.Ropes.Count; rope++)
        {
            backend.RopeAngles(work.CosSin[rope].Top(rows.Count), rows.TruePositions, inverseFrequencies[rope], config.Ropes[rope].Scale);
            if (!rows.Streams.IsNone)
            {
                // on top of q's own
                backend.RopeAngles(work.SinkCosSin[rope].Top(rows.Count), rows.Streams.SinkTurns, inverseFrequencies[rope], scale: 1);
            }
        }
        return new(rows, x.Top(rows.Count), h.Top(rows.Count));
    }

    Stream KeepWanted(Batch batch, in Stream stream)
    {
        BatchRows wanted = batch.Wanted;
        if (wanted.Count == 0)
        {
            return stream with { Rows = wanted };
        }
        Stream kept = Open(wanted, work.Narrow, work.NarrowH);
        if (stream.Others is not null)
        {
            kept = kept with { Others = [.. work.NarrowStreams.Select(t => t.Top(wanted.Count))] };
            for (int i = 0; i < stream.Others.Length; i++)
            {
                backend.Gather(kept.Others![i], stream.Others[i], wanted.Tokens);
            }
        }
        else
        {
            backend.Gather(kept.X, stream.X, wanted.Tokens);
            backend.Gather(kept.H, stream.H, wanted.Tokens);
        }
        if (!stream.Inputs.IsNone)
        {
            kept = kept with { Inputs = work.NarrowInputs.Top(wanted.Count) };
            backend.Gather(kept.Inputs, stream.Inputs, wanted.Tokens);
        }
        return kept;
    }

    KvView KvOf(int owner) => kv[sharing.Readers(owner)[0]];
}
