namespace KvCuda.Tensors;

/// <summary>
/// The rows (tokens) that one pass of verbs works on, device-resident. Rows of several sequences lie one after
/// another, without padding between them; rows of one sequence are in order of position.
/// </summary>
/// <param name="Tokens">(1, rows) i32: token ids; -1 in padding rows</param>
/// <param name="Positions">
/// (1, rows) i32: where the token is in its sequence's page table, and what masks compare: its index in the sequence, less
/// what <see cref="StreamRows"/> leaves out
/// </param>
/// <param name="Sequences">(1, rows) i32: the row of the page tables; -1 in padding rows</param>
/// <param name="Streams">none (default) unless some row belongs to a sequence that slides</param>
internal readonly record struct BatchRows(Tensor Tokens, Tensor Positions, Tensor Sequences, StreamRows Streams = default)
{
    public int Count => Tokens.Columns;

    /// <summary>(1, rows) i32: the token's index in its sequence, which is what keys and queries are rotated by.</summary>
    public Tensor TruePositions => Streams.IsNone ? Positions : Streams.TruePositions;
}
