using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>
/// The verbs that a decoder is written in. Destination first, as in the formula y = f(x). Activations are f32; weights are
/// f32, f16 or bf16 as stored, or packed; index tensors are i32.
///
/// Verbs are queued in order and may run later (<see cref="IDeviceMemory.Read"/> and
/// <see cref="IDeviceMemory.Synchronize"/> wait). No verb takes a number that changes from step to step: lengths,
/// positions, tokens and page tables are device-resident (<see cref="BatchRows"/>, <see cref="KvView"/>), so that a forward
/// pass can be recorded once and replayed. A verb that does several things is a composition of smaller verbs, defined once
/// in <see cref="Composed"/>. Calls are counted and checked in one place, <see cref="Verbs"/>.
///
/// Every verb computes a row with the same operations in the same order whatever else is in the call: a row's bits do
/// not depend on its batch mates (numerics class "consistent"). A backend in class "fast" may give that up for calls
/// of prompt size.
/// </summary>
internal interface IVerbs
{
    // --- tokens to vectors ---

    /// <summary>x[r,:] = table[index[r],:].</summary>
    /// <param name="x">(rows, dim) f32</param>
    /// <param name="table">(vocabulary, dim)</param>
    /// <param name="index">(1, rows) i32; a negative index (a padding row) gives zeros</param>
    void Embed(in Tensor x, in Tensor table, in Tensor index);

    /// <summary>x[r,:] += table[index[r],:]: learned positions.</summary>
    void EmbedAdd(in Tensor x, in Tensor table, in Tensor index);

    /// <summary>y[r,:] = x[index[r],:] for every r of y.</summary>
    void Gather(in Tensor y, in Tensor x, in Tensor index);

    /// <summary>y[index[r],:] = x[r,:] for every r of x. Indices are distinct.</summary>
    void Scatter(in Tensor y, in Tensor x, in Tensor index);

    // --- norms ---

    /// <summary>y[r,:] = x[r,:] * rsqrt(mean(x[r,:]²) + epsilon) * weight (Zhang and Sennrich 2019, eq. 4). y may be x.</summary>
    /// <param name="y">(rows, dim) f32</param>
    /// <param name="x">(rows, dim) f32</param>
    /// <param name="weight">(1, dim)</param>
    /// <param name="epsilon">added to the mean square</param>
    void RmsNorm(in Tensor y, in Tensor x, in Tensor weight, float epsilon);

    /// <summary>y[r,:] = (x - mean) * rsqrt(variance + epsilon) * weight + bias (Ba et al. 2016). y may be x.</summary>
    void LayerNorm(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon);

    // --- products ---

    /// <summary>y = x · weightᵀ (+ bias).</summary>
    /// <param name="y">(rows, outputs) f32</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="weight">(outputs, inputs)</param>
    /// <param name="bias">(1, outputs), or none</param>
    void MatMul(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default);

    /// <summary>y += x · weightᵀ (+ bias): the residual form.</summary>
    void MatMulAdd(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default);

    /// <summary>Several products with one x: y = x · weightᵀ (+ bias) for each projection that has a y.</summary>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="projections">their outputs, weights and biases</param>
    void MatMulTogether(in Tensor x, ReadOnlySpan<Projection> projections);

    /// <summary>
    /// g = activation(x · gateᵀ + gateBias) * (x · upᵀ + upBias); <paramref name="up"/> is scratch of g's shape.
    /// </summary>
    void MatMulGate(in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight, in Tensor gateBias,
        in Tensor upBias, Activation activation);

    // --- element-wise ---

    /// <summary>y = activation(gate) * up, all (rows, hidden). y may be gate.</summary>
    void Gate(in Tensor y, in Tensor gate, in Tensor up, Activation activation);

    /// <summary>x = activation(x).</summary>
    void Activate(in Tensor x, Activation activation);

    // --- positions and the key/value store ---

    /// <summary>
    /// The cosines and sines of this step: angle = position * inverseFrequency[i], in double, once per step.
    /// </summary>
    /// <param name="cosSin">(rows, 2 * pairs) f32: the cosines of a row, then its sines, each times <paramref name="scale"/></param>
    /// <param name="positions">(1, rows) i32</param>
    /// <param name="inverseFrequency">(1, pairs) f32</param>
    /// <param name="scale">the attention factor of YaRN-like rope scalings; 1 otherwise</param>
    void RopeAngles(in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale);

    /// <summary>
    /// Rotates each head of each row in place (Su et al. 2021, the half-split form of Hugging Face's Llama): with
    /// p = cosSin.Columns / 2 pairs, (x[i], x[i+p]) = (x[i] cos_i - x[i+p] sin_i, x[i+p] cos_i + x[i] sin_i); the dimensions
    /// from 2p to the head's end stay as they are.
    /// </summary>
    /// <param name="x">(rows, heads * headDim) f32</param>
    /// <param name="cosSin">(rows, 2 * pairs) f32</param>
    /// <param name="headDim">numbers per head, even</param>
    void Rotate(in Tensor x, in Tensor cosSin, int headDim);

    /// <summary>
    /// Writes the rows' keys and values into their pages, rounded to the store's type (nearest even). Rows of a
    /// negative sequence are padding and are skipped.
    /// </summary>
    /// <param name="kv">where this layer's keys and values live</param>
    /// <param name="k">(rows, kvHeads * headDim) f32, already rotated</param>
    /// <param name="v">(rows, kvHeads * headDim) f32</param>
    /// <param name="rows">positions and sequences of the rows</param>
    /// <param name="changed">
    /// (1, rows) i32 or none: changed[r] becomes 1 if any stored bit of row r differs from what was there before
    /// </param>
    void StoreKv(in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed = default);

    /// <summary>
    /// Rotate(q), Rotate(k) and StoreKv(k, v). Afterwards k is scratch. Without <paramref name="cosSin"/> nothing is rotated.
    /// </summary>
    /// <param name="kv">where this layer's keys and values live</param>
    /// <param name="q">(rows, heads * headDim) f32, rotated in place; or none</param>
    /// <param name="k">(rows, kvHeads * headDim) f32, not yet rotated</param>
    /// <param name="v">(rows, kvHeads * headDim) f32</param>
    /// <param name="cosSin">(rows, 2 * pairs) f32, or none</param>
    /// <param name="rows">positions and sequences of the rows</param>
    /// <param name="changed">as in <see cref="StoreKv"/></param>
    void RotateStoreKv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin, in BatchRows rows,
        in Tensor changed = default);

    /// <summary>
    /// q = rotate(x · queryᵀ + bias), and where the layer owns keys and values rotate(x · keyᵀ + bias) and x · valueᵀ + bias
    /// into their pages. Without <paramref name="cosSin"/> nothing is rotated.
    /// </summary>
    /// <param name="kv">the store's shape; where this layer's keys and values live, if it owns any</param>
    /// <param name="q">(rows, heads * headDim) f32; none if no queries are wanted</param>
    /// <param name="k">(rows, kvHeads * headDim) f32, scratch; none if the layer owns no keys and values</param>
    /// <param name="v">(rows, kvHeads * headDim) f32, scratch; none with k</param>
    /// <param name="x">(rows, inputs) f32</param>
    /// <param name="weights">the projections</param>
    /// <param name="cosSin">(rows, 2 * pairs) f32, or none</param>
    /// <param name="rows">positions and sequences of the rows</param>
    /// <param name="changed">as in <see cref="StoreKv"/></param>
    void MatMulQkv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor x, in QkvWeights weights, in Tensor cosSin,
        in BatchRows rows, in Tensor changed = default);

    /// <summary>Stores zero keys and values for the rows: where the study's iterative prefill starts.</summary>
    void ZeroKv(in KvView kv, in BatchRows rows);

    /// <summary>
    /// y[r, h] = softmax(scale * q[r,h] · Kᵀ) · V over the tokens that row r may see (<see cref="AttentionMask"/>); a row
    /// that may see nothing gives exactly 0. Query head h reads KV head h / (heads / kvHeads).
    /// Reduction order: the row's visible tokens are cut into chunks of <see cref="AttentionMask.ChunkTokens"/> aligned to
    /// token positions; chunks are merged in token order.
    /// Where rows slide (<see cref="BatchRows.Streams"/>), scores of their sinks are those of <paramref name="sinkQuery"/>; other
    /// rows have the bits they have without them.
    /// </summary>
    /// <param name="y">(rows, heads * headDim) f32</param>
    /// <param name="q">(rows, heads * headDim) f32, already rotated</param>
    /// <param name="kv">where the keys and values of the layer that is read live</param>
    /// <param name="rows">positions and sequences of the rows</param>
    /// <param name="mask">what a row may see</param>
    /// <param name="sinkQuery">
    /// (rows, heads * headDim) f32: q, rotated besides by <see cref="StreamRows.SinkTurns"/>; only with streams
    /// </param>
    void Attend(in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask, in Tensor sinkQuery = default);

    // --- the next token ---

    /// <summary>
    /// tokens[r] = the next token of row r: greedy (lowest id on ties) where temperature is 0, else drawn
    /// (<see cref="SampleRow"/> states the algorithm).
    /// </summary>
    /// <param name="tokens">(1, rows) i32</param>
    /// <param name="logits">(rows, vocabulary) f32; penalties are applied in place</param>
    /// <param name="parameters">(rows, SampleRow.Words) i32: one <see cref="SampleRow"/> per row</param>
    /// <param name="history">(1, n) i32: the distinct tokens that rows with a repetition penalty have seen, row after row</param>
    void Sample(in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history);
}
