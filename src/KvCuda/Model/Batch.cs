using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>
/// What runs in one forward pass: rows (tokens) of several sequences one after another, their page tables, and which
/// rows' logits are wanted. Filled on the host, then copied to the device: one transfer, and one per page class.
/// </summary>
internal sealed class Batch
{
    readonly IBackend backend;
    readonly int[] ints;          // tokens | positions | sequences of the rows, then row | position | sequence of the wanted
    readonly Tensor deviceInts;
    readonly int[][] tables;      // per class: (maxSequences, pages per sequence)
    readonly Tensor[] deviceTables;

    /// <param name="backend">where the pass will run</param>
    /// <param name="maxRows">most rows of one pass</param>
    /// <param name="maxSequences">most sequences of one pass</param>
    /// <param name="maxWanted">most rows whose logits are wanted</param>
    /// <param name="classes">page classes of the store</param>
    /// <param name="pagesPerSequence">length of a page table: pages of the longest sequence</param>
    public Batch(IBackend backend, int maxRows, int maxSequences, int maxWanted, int classes, int pagesPerSequence)
    {
        this.backend = backend;
        MaxRows = maxRows;
        MaxSequences = maxSequences;
        MaxWanted = maxWanted;
        PagesPerSequence = pagesPerSequence;
        ints = new int[3 * maxRows + 3 * maxWanted];
        deviceInts = backend.Allocate("batch", DType.I32, 1, ints.Length);
        tables = new int[classes][];
        deviceTables = new Tensor[classes];
        for (int c = 0; c < classes; c++)
        {
            tables[c] = new int[maxSequences * pagesPerSequence];
            deviceTables[c] = backend.Allocate($"page table {c}", DType.I32, maxSequences, pagesPerSequence);
        }
    }

    public int MaxRows { get; }

    public int MaxSequences { get; }

    public int MaxWanted { get; }

    public int PagesPerSequence { get; }

    public int RowCount { get; private set; }

    /// <summary>Rows on the device: with the padding of <see cref="Upload"/>.</summary>
    public int PaddedRows { get; private set; }

    public int SequenceCount { get; private set; }

    public int WantedCount { get; private set; }

    /// <summary>Some sequence has several rows: where a layer looks upward, those rows depend on each other in circles.</summary>
    public bool HasChunks => LongestChunk > 1;

    /// <summary>Rows of the sequence that has most.</summary>
    public int LongestChunk { get; private set; }

    public bool EveryRowIsWanted => WantedCount == RowCount;

    /// <summary>One row per sequence, all wanted: a pass like the one before, with other numbers in the same places.</summary>
    public bool IsDecode => EveryRowIsWanted && !HasChunks;

    Span<int> Tokens => ints.AsSpan(0, MaxRows);

    Span<int> Positions => ints.AsSpan(MaxRows, MaxRows);

    Span<int> Sequences => ints.AsSpan(2 * MaxRows, MaxRows);

    Span<int> WantedRows => ints.AsSpan(3 * MaxRows, MaxWanted);

    Span<int> WantedPositions => ints.AsSpan(3 * MaxRows + MaxWanted, MaxWanted);

    Span<int> WantedSequences => ints.AsSpan(3 * MaxRows + 2 * MaxWanted, MaxWanted);

    public ReadOnlySpan<int> HostTokens => Tokens[..RowCount];

    public ReadOnlySpan<int> HostPositions => Positions[..RowCount];

    public ReadOnlySpan<int> HostSequences => Sequences[..RowCount];

    /// <summary>All rows, on the device.</summary>
    public BatchRows Rows => new(deviceInts.Range(0, PaddedRows), deviceInts.Range(MaxRows, PaddedRows),
        deviceInts.Range(2 * MaxRows, PaddedRows));

    /// <summary>The rows whose logits are wanted, on the device; their Tokens are their places among <see cref="Rows"/>.</summary>
    public BatchRows Wanted => new(deviceInts.Range(3 * MaxRows, WantedCount),
        deviceInts.Range(3 * MaxRows + MaxWanted, WantedCount),
        deviceInts.Range(3 * MaxRows + 2 * MaxWanted, WantedCount));

    /// <summary>The page tables of one class: (maxSequences, pagesPerSequence), at an address that never changes.</summary>
    public Tensor PageTable(int pageClass) => deviceTables[pageClass];

    public void Clear()
    {
        RowCount = SequenceCount = WantedCount = LongestChunk = 0;
    }

    /// <summary>Rows that still fit, or 0 if no further sequence does.</summary>
    public int Room => SequenceCount < MaxSequences ? MaxRows - RowCount : 0;

    /// <summary>Adds the next rows of a sequence.</summary>
    /// <param name="tokens">the rows' tokens</param>
    /// <param name="firstPosition">position of the first of them</param>
    /// <param name="wanted">so many of the last rows' logits are wanted</param>
    /// <returns>the sequence's row in the page tables, to be filled through <see cref="TableRow"/></returns>
    public int Add(ReadOnlySpan<int> tokens, int firstPosition, int wanted)
    {
        int sequence = SequenceCount++;
        tokens.CopyTo(Tokens[RowCount..]);
        for (int i = 0; i < tokens.Length; i++)
        {
            Positions[RowCount + i] = firstPosition + i;
            Sequences[RowCount + i] = sequence;
        }
        RowCount += tokens.Length;
        LongestChunk = Math.Max(LongestChunk, tokens.Length);
        for (int row = tokens.Length - wanted; row < tokens.Length; row++)
        {
            WantedRows[WantedCount] = RowCount - tokens.Length + row;
            WantedPositions[WantedCount] = firstPosition + row;
            WantedSequences[WantedCount] = sequence;
            WantedCount++;
        }
        return sequence;
    }

    /// <summary>A sequence's page table of one class, to be written by the store.</summary>
    public Span<int> TableRow(int pageClass, int sequence) =>
        tables[pageClass].AsSpan(sequence * PagesPerSequence, PagesPerSequence);

    /// <summary>Copies everything to the device. Decodes are padded to a size that the backend may have recorded.</summary>
    public void Upload()
    {
        PaddedRows = IsDecode ? Math.Min(backend.BucketOf(RowCount), Math.Min(MaxRows, MaxWanted)) : RowCount;
        Tokens[RowCount..PaddedRows].Fill(-1);
        Positions[RowCount..PaddedRows].Clear();
        Sequences[RowCount..PaddedRows].Fill(-1);
        backend.Write(deviceInts, MemoryMarshal.AsBytes<int>(ints));
        for (int c = 0; c < tables.Length; c++)
        {
            backend.Write(deviceTables[c].Top(SequenceCount),
                MemoryMarshal.AsBytes(tables[c].AsSpan(0, SequenceCount * PagesPerSequence)));
        }
    }
}
