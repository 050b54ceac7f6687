// Embeddings per layer (Gemma 3n, small Gemma 4), and layers over several residual streams (Gemma 3n's AltUp and LAuReL).
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Model;

internal sealed partial class Decoder
{
    /// <summary>
    /// Per-layer embeddings of the rows: (norm(x Wp / sqrt(E)) + table[id] sqrt(P)) / sqrt(2), all layers side by side.
    /// </summary>
    Stream WithInputs(in Stream stream)
    {
        if (config.PerLayerInputs is not { } inputs || stream.Rows.Count == 0)
        {
            return stream;
        }
        int rows = stream.Rows.Count;
        Tensor own = work.Inputs.Top(rows), context = work.InputContext.Top(rows);
        Family.EmbedOrFirst(own, weights.PerLayerEmbedding, stream.Rows.Tokens);
        Family.Scale(own, MathF.Sqrt(inputs.Size));
        backend.MatMul(context, stream.X, weights.PerLayerProjection);
        Family.Scale(context, 1 / MathF.Sqrt(config.HiddenSize));
        Tensor parts = context.View(rows * config.Layers, inputs.Size);
        backend.RmsNorm(parts, parts, weights.PerLayerProjectionNorm, config.NormEpsilon);
        Family.Add(own, context);
        Family.Scale(own, 1 / MathF.Sqrt(2));
        return stream with { Inputs = own };
    }

    // Each of `to` += norm((act(x Wgate) * the layer's inputs) Wproj)
    void AddInput(int layer, in Stream stream, in Tensor x, ReadOnlySpan<Tensor> to)
    {
        LayerWeights w = weights.Layers[layer];
        int size = config.PerLayerInputs!.Size;
        Tensor gate = work.InputGate.Top(x.Rows), own = work.OwnInput.Top(x.Rows), branch = work.Branch.Top(x.Rows);
        backend.MatMul(gate, x, w[TensorRole.InputGate]);
        Family.TakeColumns(own, stream.Inputs, layer * size);
        backend.Gate(gate, gate, own, config.Activation);
        backend.MatMul(branch, gate, w[TensorRole.InputProjection]);
        backend.RmsNorm(branch, branch, w[TensorRole.PostInputNorm], config.NormEpsilon);
        foreach (ref readonly Tensor target in to)
        {
            Family.Add(target, branch);
        }
    }

    /// <summary>The further streams: projections of the embedding, as large as it.</summary>
    Stream WithStreams(in Stream stream)
    {
        if (config.AltUp is not { } altUp || stream.Rows.Count == 0)
        {
            return stream;
        }
        int rows = stream.Rows.Count;
        // No lambda: what it captures would be allocated in every step, of models without streams too.
        Tensor[] all = [.. work.Streams];
        for (int i = 0; i < all.Length; i++)
        {
            all[i] = all[i].Top(rows);
        }
        backend.CopyBytes(all[0].Address, stream.X.Address, stream.X.Bytes);
        for (int i = 1; i < altUp.Streams; i++)
        {
            backend.MatMul(all[i], stream.X, weights.StreamProjection(i - 1));
            Family.MatchMagnitude(all[i], stream.X);
        }
        return stream with { Others = all };
    }

    /// <summary>A layer over several streams: predict all, compute with the active one, correct all by what came of it.</summary>
    void StreamsLayer(int layer, in Stream stream)
    {
        int rows = stream.Rows.Count;
        AltUp altUp = config.AltUp!;
        LayerWeights w = weights.Layers[layer];
        Tensor[] streams = stream.Others!, predicted = [.. work.Predicted.Select(t => t.Top(rows))];
        Tensor modality = work.Modality.Top(rows), x = stream.X, branch = work.Branch.Top(rows), low = work.LowRank.Top(rows);

        Modality(layer, streams[altUp.Active], stream.H, modality);
        Tensor prediction = work.Coefficients.Top(rows);
        backend.MatMul(prediction, modality, w[TensorRole.StreamPrediction]);
        Family.PredictStreams(predicted, streams, prediction);

        // x = (active + attention + (norm of the low-rank branch + its input)) / sqrt(2)
        backend.CopyBytes(x.Address, predicted[altUp.Active].Address, x.Bytes);
        NormaliseIn(layer, stream);
        backend.MatMul(low, stream.H, w[TensorRole.LowRankLeft]);
        backend.MatMul(branch, low, w[TensorRole.LowRankRight]);
        backend.RmsNorm(branch, branch, w[TensorRole.LowRankNorm], config.NormEpsilon);
        Family.Add(x, branch);
        Family.Add(x, stream.H);
        Project(layer, stream, queries: true, sharing.Owns(layer));
        Attention(layer, stream);
        Family.Scale(x, 1 / MathF.Sqrt(2));
        Mlp(layer, stream);

        Modality(layer, x, stream.H, modality);
        Tensor correction = Part(work.Coefficients, rows, altUp.Streams);
        backend.MatMul(correction, modality, w[TensorRole.StreamCorrection]);
        Family.CorrectStreams(streams, predicted, x, correction, altUp.Active);

        backend.CopyBytes(x.Address, streams[altUp.Active].Address, x.Bytes);
        if (altUp.ScalesOutput)
        {
            Family.ScaleColumns(x, w[TensorRole.StreamScale]);
        }
        // Stream 0 gets none, whichever is active.
        AddInput(layer, stream, x, streams.AsSpan(1));
    }

    // y = tanh(norm(x) / E · router)
    void Modality(int layer, in Tensor x, in Tensor scratch, in Tensor y)
    {
        LayerWeights w = weights.Layers[layer];
        backend.RmsNorm(scratch, x, w[TensorRole.StreamRouterNorm], config.NormEpsilon);
        Family.Scale(scratch, 1f / config.HiddenSize);
        backend.MatMul(y, scratch, w[TensorRole.StreamRouter]);
        Family.Scale(y, scale: 1, cap: 1);
    }

    /// <summary>x = the mean of stream 0 and of the others on their way back, as large as it.</summary>
    void JoinStreams(in Stream stream)
    {
        Tensor[] streams = stream.Others!;
        Tensor branch = work.Branch.Top(stream.Rows.Count);
        backend.CopyBytes(stream.X.Address, streams[0].Address, stream.X.Bytes);
        for (int i = 1; i < streams.Length; i++)
        {
            backend.MatMul(branch, streams[i], weights.StreamReturn(i - 1));
            Family.MatchMagnitude(branch, streams[0]);
            Family.Add(stream.X, branch);
        }
        Family.Scale(stream.X, 1f / streams.Length);
    }
}
