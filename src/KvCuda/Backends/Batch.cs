using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>
/// The rows (tokens) that one pass of verbs works on, device-resident. Rows of several sequences lie one after
/// another, without padding between them; rows of one sequence are in order of position.
/// </summary>
/// <param name="Tokens">(1, rows) i32: token ids; -1 in padding rows</param>
/// <param name="Positions">(1, rows) i32: the token's index in its sequence</param>
/// <param name="Sequences">(1, rows) i32: the row of the page tables; -1 in padding rows</param>
internal readonly record struct BatchRows(Tensor Tokens, Tensor Positions, Tensor Sequences)
{
    public int Count => Tokens.Columns;
}

/// <summary>
/// Where the keys and values of one owning layer live: pages of <see cref="PageTokens"/> tokens in the store's arena,
/// each [layer][K|V][kv head][token][head dim], so that one head's keys of one page are one contiguous run.
///
/// The number at (sequence, j) of the page table is the address of the page that holds tokens [j P, (j+1) P) of that
/// sequence, in granules of 128 bytes from the arena's start; -1 where there is none.
/// byte address of K[head, token t] = Arena + 128 * page(t / P) + LayerOffset + ((head * P + t % P) * headDim) * bytes;
/// V lies kvHeads * P * headDim elements further.
/// </summary>
/// <param name="Arena">address of the arena's first byte</param>
/// <param name="LayerOffset">bytes from a page's start to this layer's keys</param>
/// <param name="PageTokens">tokens per page, a power of two</param>
/// <param name="KvHeads">key/value heads</param>
/// <param name="HeadDim">numbers per head, even</param>
/// <param name="Type">f32, f16 or bf16</param>
/// <param name="PageTable">(sequences, pages) i32</param>
internal readonly record struct KvView(
    nint Arena, long LayerOffset, int PageTokens, int KvHeads, int HeadDim, DType Type, Tensor PageTable)
{
    /// <summary>Bytes of the unit in which page tables count.</summary>
    public const int GranuleBytes = 128;
}

/// <summary>Which tokens a row at position p may see, and how its scores are scaled.</summary>
/// <param name="Scale">multiplies the scores: 1/sqrt(headDim), or 1 for GPT-Neo</param>
/// <param name="Window">W &gt; 0: only the W latest tokens, the row's own included: positions above p - W. 0: all</param>
/// <param name="StrictlyEarlier">the row's own token is hidden: positions below p (layers that look upward)</param>
/// <param name="Sinks">with a window: the first so many tokens stay visible as well (StreamingLLM). 0: none</param>
internal readonly record struct AttentionMask(float Scale, int Window = 0, bool StrictlyEarlier = false, int Sinks = 0)
{
    /// <summary>Tokens per chunk of the reduction order; a multiple of every page size up to itself.</summary>
    public const int ChunkTokens = 128;
}

/// <summary>
/// How one row's next token is chosen, the same bytes on host and device. In this order: repetition penalty
/// (Keskar et al. 2019: a seen token's logit is divided by it if positive, else multiplied), temperature, then of the
/// tokens sorted by probability (lower id first on ties) the first TopK, then the shortest run whose probability
/// reaches TopP, then those of at least MinP times the largest probability; the survivors' probabilities are
/// renormalised and the first whose running sum (in that order) exceeds u is taken. u is in [0, 1): the upper 24 bits of the
/// first word of Philox4x32-10 (Salmon et al. 2011) with key (SeedLow, SeedHigh) and counter (Step, 0, 0, 0), over 2^24.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SampleRow
{
    /// <summary>Number of 32-bit words of this struct.</summary>
    public const int Words = 10;

    /// <summary>Divides the logits; 0 is greedy.</summary>
    public float Temperature;

    /// <summary>Keep so many tokens; 0 keeps all.</summary>
    public int TopK;

    /// <summary>Keep the smallest set of this probability; 1 keeps all.</summary>
    public float TopP;

    /// <summary>Keep tokens of at least this share of the likeliest one's probability; 0 keeps all.</summary>
    public float MinP;

    /// <summary>1 changes nothing.</summary>
    public float RepetitionPenalty;

    /// <summary>The row's tokens in the history tensor: [HistoryStart, HistoryStart + HistoryCount).</summary>
    public int HistoryStart, HistoryCount;

    /// <summary>Key of the random number: low and high word of the seed.</summary>
    public uint SeedLow, SeedHigh;

    /// <summary>Counter of the random number: the position of the token that is being chosen.</summary>
    public int Step;
}
