// One step of the model: which sequences' tokens run, their pages, the forward pass, and what of it is kept.
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>
/// One step over the next tokens of several sequences. The protocol of a step stands here and nowhere else: reserve pages
/// (<see cref="TryAdd"/>); write page tables, play page copies, upload, walk the decoder (<see cref="Run()"/>); keep the first
/// tokens of each sequence (<see cref="Accept(int, int)"/>). Used by one thread, again and again after <see cref="Clear"/>.
/// </summary>
internal sealed class Pass
{
    readonly KvMemory memory;
    readonly Decoder decoder;
    readonly LayerSharing sharing;
    readonly ChunkLength chunk;
    readonly PrefillMode mode;
    readonly Batch batch;
    readonly Item[] items;
    readonly (KvSequence? Sequence, long Version)[] written; // which tables the rows of the batch's page tables hold
    long moves;            // the store's when they were written
    bool writtenSliding;   // and in which of the two sets of tables

    /// <param name="memory">the store, its pages and the batch</param>
    /// <param name="decoder">what runs</param>
    /// <param name="sharing">which layers read whose keys and values</param>
    /// <param name="mode">how prompts run unless <see cref="Run(PrefillMode)"/> is given another mode</param>
    public Pass(KvMemory memory, Decoder decoder, LayerSharing sharing, PrefillMode mode)
    {
        (this.memory, this.decoder, this.sharing, this.mode) = (memory, decoder, sharing, mode);
        batch = memory.Batch;
        chunk = new(batch.MaxRows);
        items = new Item[batch.MaxSequences];
        written = new (KvSequence?, long)[batch.MaxSequences];
    }

    // Rows [Start, Start + Count) of the batch; the logits of the last Wanted of them are rows [FirstWanted, ...) of the result.
    // Of the rows, the first Accepted have been kept.
    readonly record struct Item(KvSequence Sequence, int Start, int Count, int FirstWanted, int Accepted = 0);

    /// <summary>Sequences in the pass.</summary>
    public int Count => batch.SequenceCount;

    /// <summary>Most sequences of a pass.</summary>
    public int MaxSequences => batch.MaxSequences;

    /// <summary>Most rows (tokens) of a pass.</summary>
    public int MaxRows => batch.MaxRows;

    /// <summary>Rows that still fit, or 0 if no further sequence does.</summary>
    public int Room => batch.Room;

    /// <summary>Further rows whose logits may be wanted.</summary>
    public int WantedRoom => batch.MaxWanted - batch.WantedCount;

    /// <summary>Every sequence has one row, and its logits are wanted: a step of decoding.</summary>
    public bool IsDecode => batch.IsDecode;

    /// <summary>Most tokens of one sequence in a pass, as the prefill mode and the passes measured so far suggest.</summary>
    public int ChunkTokens => mode.Kind == PrefillKind.Sequential ? 1 : sharing.IsCyclic ? chunk.Tokens : batch.MaxRows;

    /// <inheritdoc cref="Decoder.Passes"/>
    public int Passes => decoder.Passes;

    /// <summary>Begins a new step. What was added before and not accepted never was.</summary>
    public void Clear() => batch.Clear();

    /// <summary>
    /// Adds the next tokens of a sequence, at positions [Length, Length + tokens) of it, and makes those positions writable. They
    /// must fit <see cref="Room"/>, and <paramref name="wanted"/> must fit <see cref="WantedRoom"/>.
    /// </summary>
    /// <param name="sequence">not yet in this pass</param>
    /// <param name="tokens">at least one; rows of a sequence that slides end where sliding begins</param>
    /// <param name="wanted">how many of the last tokens' logits are wanted, 0 or more</param>
    /// <returns>the item's number, 0 for the first added; -1 if the store has no room: then nothing has changed</returns>
    public int TryAdd(KvSequence sequence, ReadOnlySpan<int> tokens, int wanted)
    {
        if (!memory.Store.TryReserve(sequence, tokens.Length))
        {
            return -1;
        }
        int start = batch.RowCount, first = batch.WantedCount;
        int item = batch.Add(tokens, sequence.Length, wanted, sequence.Slide);
        items[item] = new(sequence, start, tokens.Length, first);
        return item;
    }

    /// <summary>Rows of an item.</summary>
    public int RowsOf(int item) => items[item].Count;

    /// <summary>The row of an item's first wanted logits in the result of <see cref="Run()"/>; the others follow.</summary>
    public int RowOf(int item) => items[item].FirstWanted;

    /// <summary>Runs the step.</summary>
    /// <returns>(wanted, vocabulary): the wanted rows' logits in the order of the items, valid until the next pass</returns>
    public Tensor Run() => Run(mode);

    /// <inheritdoc cref="Run()"/>
    /// <param name="mode">how chunks run where a layer looks upward</param>
    public Tensor Run(PrefillMode mode)
    {
        Upload();
        return Forward(mode);
    }

    /// <summary>
    /// The half of <see cref="Run()"/> before the forward pass: page tables, page copies, upload. After all reservations, because making room for
    /// one sequence may move another's pages.
    /// </summary>
    public void Upload()
    {
        bool tables = WriteTables();
        memory.PlayCopies();
        batch.Upload(tables);
    }

    /// <summary>The other half. Benches call it again and again: the pass is the same each time.</summary>
    public Tensor Forward(PrefillMode mode)
    {
        Tensor logits = decoder.Forward(batch, mode);
        if (batch.HasChunks && sharing.IsCyclic && mode.Kind == PrefillKind.Converged)
        {
            chunk.Observe(batch.LongestChunk, decoder.Passes);
        }
        return logits;
    }

    /// <summary>
    /// Keeps the next <paramref name="tokens"/> of an item's tokens: its sequence grows by them, and pages that are full now can be
    /// found by others. What is not kept when the pass ends never was: the next pass writes over it.
    /// </summary>
    public void Accept(int item, int tokens)
    {
        Item kept = items[item];
        memory.Store.Advance(kept.Sequence, batch.HostTokens.Slice(kept.Start + kept.Accepted, tokens));
        items[item] = kept with { Accepted = kept.Accepted + tokens };
    }

    /// <summary>Keeps all of an item's tokens.</summary>
    public void Accept(int item) => Accept(item, items[item].Count);

    // Rows of the tables stay right while their sequence's table does and no page moves. A table that slides shifts as its
    // sequence grows, so it is written every time.
    bool WriteTables()
    {
        KvStore.KvStore store = memory.Store;
        if (store.Moves != moves || batch.HasStreams || writtenSliding)
        {
            Array.Clear(written);
        }
        (moves, writtenSliding) = (store.Moves, batch.HasStreams);
        bool any = false;
        for (int row = 0; row < batch.SequenceCount; row++)
        {
            KvSequence sequence = items[row].Sequence;
            if (written[row] == (sequence, sequence.TableVersion))
            {
                continue;
            }
            for (int c = 0; c < store.Layout.Classes.Count; c++)
            {
                sequence.WriteTable(c, batch.TableRow(c, row));
            }
            written[row] = (sequence, sequence.TableVersion);
            any = true;
        }
        // No closed sequence is kept alive by a row that is not used.
        written.AsSpan(batch.SequenceCount).Clear();
        return any;
    }
}
