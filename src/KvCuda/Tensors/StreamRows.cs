namespace KvCuda.Tensors;

/// <summary>
/// What a pass needs to know besides when some of its rows slide (StreamingLLM, Xiao et al. 2023, arXiv 2309.17453).
///
/// A sequence with S sinks and a window of W tokens slides from position S + W on. Before, its rows are ordinary ones. A row
/// that slides sees, in a layer of full attention, the sinks [0, S) and the W latest tokens (p - W, p], its own included: a
/// matter of tokens, never of pages or prompt chunks. Attention goes by distance within the cache, as if the gap between
/// sinks and window were closed: the row is the cache's last token, S + W - 1. Keys stay as they were stored, rotated by
/// true positions; so do queries towards the window, where distances are true anyway. Towards the sinks the query is rotated
/// by S + W - 1 instead of p, which takes a second turn, back by the p + 1 - S - W tokens between sinks and window. No distance exceeds S + W, so however
/// large p becomes, nothing lies outside what the model was trained for, whatever its (constant) inverse frequencies.
///
/// A layer with a window of its own, W' &lt; S + W, keeps it: it sees (p - min(W', W), p], and no sinks. One of W' &gt;= S + W masks
/// nothing within the cache and counts as full attention. A layer that looks upward does not see p itself.
///
/// Page tables of a sequence that slides skip the gap: sinks are where they were, in the first ceil(S / C) chunks of C =
/// <see cref="AttentionMask.ChunkTokens"/> positions; window tokens follow in the chunks after those, shifted by a whole number
/// of chunks (which may be negative). So a chunk has sinks or window tokens, never both, and the chunks of a row, and with
/// them its bits, depend on p, S and W alone.
/// </summary>
/// <param name="TruePositions">(1, rows) i32: the token's index in its sequence; <see cref="BatchRows.Positions"/> of other rows</param>
/// <param name="SinkTurns">(1, rows) i32: positions by which the query towards sinks is rotated besides: S + W - 1 - p; 0 of other rows</param>
/// <param name="Spans">(rows, 2) i32: S and W of a row that slides; 0 and 0 of other rows</param>
internal readonly record struct StreamRows(Tensor TruePositions, Tensor SinkTurns, Tensor Spans)
{
    public bool IsNone => Spans.IsNone;
}
