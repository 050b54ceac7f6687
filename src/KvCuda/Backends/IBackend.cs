using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>
/// The verbs a decoder is written in, and the memory they work on. Destination first, as in the formula y = f(x).
/// Activations are f32; weights are f32, f16 or bf16 as stored, or int8; index tensors are i32.
///
/// Verbs are queued in order and may run later (<see cref="Read"/> and <see cref="Synchronize"/> wait). No verb takes a
/// number that changes from step to step: lengths, positions, tokens and page tables are device-resident
/// (<see cref="BatchRows"/>, <see cref="KvView"/>), so that a forward pass can be recorded once and replayed.
/// A verb that does several things is defined by its default implementation here: the composition of smaller verbs.
///
/// Every verb computes a row with the same operations in the same order whatever else is in the call: a row's bits do
/// not depend on its batch mates (numerics class "consistent"). A backend in class "fast" may give that up for calls
/// of prompt size.
/// </summary>
internal interface IBackend : IDisposable
{
    /// <summary>What runs where, for people: "cpu (AVX-512, 2 threads)".</summary>
    string Name { get; }

    /// <summary>Calls per verb, and launches per kernel where there are kernels.</summary>
    VerbCounters Counters { get; }

    // --- memory ---

    /// <summary>The memory that <see cref="AllocateBytes"/> takes from, as it is now.</summary>
    MemoryInfo Memory { get; }

    /// <summary>New zeroed memory, 128-byte aligned, alive until <see cref="Free"/> or the backend's disposal.</summary>
    Tensor Allocate(string name, DType type, int rows, int columns);

    /// <summary>New zeroed memory of <paramref name="bytes"/> bytes, 128-byte aligned: the arena of the KV store.</summary>
    nint AllocateBytes(string name, long bytes);

    /// <summary>Gives back what <see cref="Allocate"/> or <see cref="AllocateBytes"/> returned.</summary>
    void Free(nint address);

    /// <summary>Whether products take weights of <see cref="DType.Int8"/>.</summary>
    bool TakesInt8Weights => false;

    /// <summary>
    /// Beside the caller, makes ready what passes over such weights and such keys and values will run; they may begin before it is.
    /// </summary>
    void WarmUp(DType weights, DType kv) { }

    /// <summary>A weight in host memory that outlives the backend, made readable by verbs: in place, or a copy.</summary>
    Tensor Load(in Tensor hostWeight);

    /// <summary>destination = source, in order with the verbs. The source may be reused at once.</summary>
    void Write(in Tensor destination, ReadOnlySpan<byte> source);

    /// <summary>destination = source, after all verbs queued so far.</summary>
    void Read(Span<byte> destination, in Tensor source);

    /// <summary>Copies whole KV pages (byte offsets are from the arena's address): copy on write.</summary>
    void CopyBytes(nint destination, nint source, long bytes);

    /// <summary>Waits for everything queued.</summary>
    void Synchronize();

    // --- the host tier: copies beside the verbs. They run in their own order, behind the verbs queued before them; verbs
    // queued later do not wait for them unless told to. Only a backend whose memory is not the host's has it. ---

    /// <summary>Host memory for the four verbs below, alive until the backend's disposal.</summary>
    /// <exception cref="DeviceException">The host has not so much that can be pinned.</exception>
    /// <exception cref="InvalidRequestException">The backend's memory is the host's.</exception>
    nint AllocateHost(long bytes) => throw new InvalidRequestException(
        $"A host tier (--host-kv-budget, HostKvBudgetBytes) was asked for, but {Name} keeps keys and values in host memory anyway; "
        + "give --kv-budget (KvBudgetBytes) more instead.");

    /// <summary>Queues host = source.</summary>
    /// <param name="host">in memory of <see cref="AllocateHost"/></param>
    /// <param name="source">what verbs read and write</param>
    /// <param name="bytes">how many</param>
    void CopyToHost(nint host, nint source, long bytes) => throw new NotSupportedException();

    /// <summary>Queues destination = host.</summary>
    void CopyFromHost(nint destination, nint host, long bytes) => throw new NotSupportedException();

    /// <summary>The copies queued up to here are known by this number, which is not below the last one given.</summary>
    void Fence(long number) => throw new NotSupportedException();

    /// <summary>Verbs queued from now on run after the copies up to the first fence of this number or a higher one.</summary>
    void WaitFor(long number) => throw new NotSupportedException();

    // --- recording: a pass whose shapes repeat is queued by one call ---

    /// <summary>
    /// Queues the pass that was recorded under the key again. Shapes and addresses are those of the recording; what lies at
    /// the addresses is read anew. False if there is none; then the pass is walked between
    /// <see cref="BeginRecording"/> and <see cref="EndRecording"/>. Never true on a backend where recording has no use.
    /// </summary>
    /// <param name="key">stands for everything that decides which verbs run on which shapes and addresses</param>
    bool Replay(int key) => false;

    /// <summary>
    /// The verbs up to <see cref="EndRecording"/> are one pass and may be kept under the key. They run once, at the latest
    /// then. No memory is made, freed, written or read in between, and no number that the host passes to a verb differs
    /// between passes of one key.
    /// </summary>
    void BeginRecording(int key) { }

    /// <summary>
    /// Rows to which a pass of <paramref name="rows"/> rows is padded, so that few recordings serve all batch sizes. Never
    /// fewer than rows; rows itself on a backend where recording has no use.
    /// </summary>
    int BucketOf(int rows) => rows;

    /// <summary>Ends what <see cref="BeginRecording"/> began.</summary>
    void EndRecording() { }

    // --- preparing: a backend that compiles is told beforehand what will run ---

    /// <summary>
    /// Passes that are walked until <see cref="EndPreparing"/> compute nothing: neither do verbs, nor reads and writes. They only
    /// tell which kernels will be needed, so that all of them compile at the same time. False on a backend that has nothing
    /// to prepare; then nothing is walked.
    /// </summary>
    /// <param name="always">also where preparing more than is used costs more than it saves</param>
    bool BeginPreparing(bool always) => false;

    /// <summary>Waits until everything that was asked for can run.</summary>
    void EndPreparing() { }

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

    /// <summary>
    /// g = activation(x · gateᵀ + gateBias) * (x · upᵀ + upBias); <paramref name="up"/> is scratch of g's shape.
    /// </summary>
    void MatMulGate(in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight, in Tensor gateBias,
        in Tensor upBias, Activation activation)
    {
        MatMul(g, x, gateWeight, gateBias);
        MatMul(up, x, upWeight, upBias);
        Gate(g, g, up, activation);
    }

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
        in Tensor changed = default)
    {
        if (!cosSin.IsNone)
        {
            if (!q.IsNone)
            {
                Rotate(q, cosSin, kv.HeadDim);
            }
            Rotate(k, cosSin, kv.HeadDim);
        }
        StoreKv(kv, k, v, rows, changed);
    }

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
        in BatchRows rows, in Tensor changed = default)
    {
        if (!q.IsNone)
        {
            MatMul(q, x, weights.Query, weights.QueryBias);
        }
        if (!k.IsNone)
        {
            MatMul(k, x, weights.Key, weights.KeyBias);
            MatMul(v, x, weights.Value, weights.ValueBias);
            RotateStoreKv(kv, q, k, v, cosSin, rows, changed);
        }
        else if (!q.IsNone && !cosSin.IsNone)
        {
            Rotate(q, cosSin, kv.HeadDim);
        }
    }

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
