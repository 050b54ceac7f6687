// Verbs that some model families need beyond those that all have.
using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>
/// What Gemma, Granite and mixtures of experts compute besides <see cref="IVerbs"/>. A backend without them has none of these
/// families. All numbers are f32 unless said otherwise; a row's result depends on that row alone.
/// </summary>
internal interface IFamilyVerbs
{
    /// <summary>As <see cref="IVerbs.Embed"/>, but an index beyond the table reads row 0.</summary>
    void EmbedOrFirst(in Tensor x, in Tensor table, in Tensor index);

    /// <summary>x = scale * x, or with a cap above 0: cap * tanh(scale * x / cap).</summary>
    void Scale(in Tensor x, float scale, float cap = 0);

    /// <summary>x[r, c] = x[r, c] * weight[c].</summary>
    /// <param name="x">(rows, columns)</param>
    /// <param name="weight">(1, columns), any float type</param>
    void ScaleColumns(in Tensor x, in Tensor weight);

    /// <summary>y = y + scale * x.</summary>
    void Add(in Tensor y, in Tensor x, float scale = 1);

    /// <summary>y[r, c] = x[r, first + c].</summary>
    void TakeColumns(in Tensor y, in Tensor x, int first);

    /// <summary>
    /// g = max(0, g - (mean + threshold * deviation)) of its row, the deviation with 1/n (Gemma 3n's activation sparsity).
    /// </summary>
    void CutGates(in Tensor g, float threshold);

    /// <summary>y of each row gets the root mean square of the reference's row: y * rms(reference) / sqrt(max(mean y², 1e-5)).</summary>
    void MatchMagnitude(in Tensor y, in Tensor reference);

    /// <summary>predicted_i = streams_i + Σ_j coefficients[r, i * A + j] * streams_j, A streams (AltUp, arXiv 2301.13310).</summary>
    /// <param name="predicted">A of (rows, dim)</param>
    /// <param name="streams">A of (rows, dim)</param>
    /// <param name="coefficients">(rows, A * A)</param>
    void PredictStreams(ReadOnlySpan<Tensor> predicted, ReadOnlySpan<Tensor> streams, in Tensor coefficients);

    /// <summary>streams_i = predicted_i + (coefficients[r, i] + 1) * (computed - predicted_active).</summary>
    /// <param name="streams">A of (rows, dim)</param>
    /// <param name="predicted">A of (rows, dim)</param>
    /// <param name="computed">(rows, dim): what the layer made of the active stream</param>
    /// <param name="coefficients">(rows, A)</param>
    /// <param name="active">the active stream</param>
    void CorrectStreams(ReadOnlySpan<Tensor> streams, ReadOnlySpan<Tensor> predicted, in Tensor computed, in Tensor coefficients,
        int active);

    /// <summary>
    /// The experts of each row: the most likely ones by softmax(logits), the lower number first on ties, and their shares.
    /// </summary>
    /// <param name="choices">(rows, chosen) i32, most likely first</param>
    /// <param name="shares">(rows, chosen)</param>
    /// <param name="logits">(rows, experts)</param>
    /// <param name="scale">(1, experts): multiplies an expert's share at the end; or none</param>
    /// <param name="renormalise">shares of the chosen are divided by their sum</param>
    void Route(in Tensor choices, in Tensor shares, in Tensor logits, in Tensor scale, bool renormalise);

    /// <summary>y[r] = Σ_k shares[r, k] * expert(choices[r, k])(x[r]), added in the order of k.</summary>
    /// <param name="y">(rows, dim)</param>
    /// <param name="x">(rows, dim)</param>
    /// <param name="choices">(rows, chosen) i32</param>
    /// <param name="shares">(rows, chosen)</param>
    /// <param name="experts">all experts of the layer</param>
    /// <param name="activation">of their gates</param>
    void MixExperts(in Tensor y, in Tensor x, in Tensor choices, in Tensor shares, IReadOnlyList<ExpertWeights> experts,
        Activation activation);
}
