using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>
/// What runs in one forward pass: rows (tokens) of several sequences one after another, their page tables, and which
/// rows' logits are wanted. Filled on the host, then copied to the device: one transfer, and one per page class.
/// </summary>
internal sealed class Batch
{
    readonly IBackend backend;
    readonly int pagesPerSequence, pagesPerStream;
    readonly int[] ints;          // tokens | positions | sequences of the rows, then row | position | sequence of the wanted
    readonly Tensor deviceInts;
    readonly int[][] tables;      // per class: (maxSequences, Columns)
    readonly Tensor[] deviceTables, deviceStreamTables;
    readonly int[] streams;       // true positions | sink turns | spans of the rows, then of the wanted: see StreamRows
    readonly Tensor deviceStreams;

    /// <param name="backend">where the pass will run</param>
    /// <param name="maxRows">most rows of one pass</param>
    /// <param name="maxSequences">most sequences of one pass</param>
    /// <param name="maxWanted">most rows whose logits are wanted</param>
    /// <param name="classes">page classes of the store</param>
    /// <param name="pagesPerSequence">length of a page table: pages of the longest sequence</param>
    /// <param name="pagesPerStream">the same where sequences slide</param>
    public Batch(IBackend backend, int maxRows, int maxSequences, int maxWanted, int classes, int pagesPerSequence, int pagesPerStream)
    {
        this.backend = backend;
        MaxRows = maxRows;
        MaxSequences = maxSequences;
        MaxWanted = maxWanted;
        this.pagesPerSequence = pagesPerSequence;
        this.pagesPerStream = pagesPerStream;
        ints = new int[3 * maxRows + 3 * maxWanted];
        deviceInts = backend.Allocate("batch", DType.I32, 1, ints.Length);
        streams = new int[4 * (maxRows + maxWanted)];
        deviceStreams = backend.Allocate("streams", DType.I32, 1, streams.Length);
        tables = new int[classes][];
        deviceTables = new Tensor[classes];
        deviceStreamTables = new Tensor[classes];
        for (int c = 0; c < classes; c++)
        {
            tables[c] = new int[maxSequences * pagesPerStream];
            deviceTables[c] = backend.Allocate($"page table {c}", DType.I32, maxSequences, pagesPerSequence);
            deviceStreamTables[c] = backend.Allocate($"page table {c} of streams", DType.I32, maxSequences, pagesPerStream);
        }
    }

    public int MaxRows { get; }

    public int MaxSequences { get; }

    public int MaxWanted { get; }

    public int RowCount { get; private set; }

    /// <summary>Rows on the device: with the padding of <see cref="Upload"/>.</summary>
    public int PaddedRows { get; private set; }

    public int SequenceCount { get; private set; }

    public int WantedCount { get; private set; }

    /// <summary>Some sequence slides: page tables are those of <see cref="StreamPageTable"/>, and rows carry <see cref="StreamRows"/>.</summary>
    public bool HasStreams { get; private set; }

    /// <summary>Some sequence has several rows: where a layer looks upward, those rows depend on each other in circles.</summary>
    public bool HasChunks => LongestChunk > 1;

    /// <summary>Rows of the sequence that has most.</summary>
    public int LongestChunk { get; private set; }

    public bool EveryRowIsWanted => WantedCount == RowCount;

    /// <summary>One row per sequence, all wanted: a pass like the one before, with other numbers in the same places.</summary>
    public bool IsDecode => EveryRowIsWanted && !HasChunks;

    /// <summary>What decides which verbs a decode runs on which shapes and addresses.</summary>
    public int RecordingKey => HasStreams ? ~PaddedRows : PaddedRows;

    Span<int> Tokens => ints.AsSpan(0, MaxRows);

    Span<int> Positions => ints.AsSpan(MaxRows, MaxRows);

    Span<int> Sequences => ints.AsSpan(2 * MaxRows, MaxRows);

    Span<int> WantedRows => ints.AsSpan(3 * MaxRows, MaxWanted);

    Span<int> WantedPositions => ints.AsSpan(3 * MaxRows + MaxWanted, MaxWanted);

    Span<int> WantedSequences => ints.AsSpan(3 * MaxRows + 2 * MaxWanted, MaxWanted);

    Span<int> TruePositions => streams.AsSpan(0, MaxRows);

    Span<int> SinkTurns => streams.AsSpan(MaxRows, MaxRows);

    Span<int> Spans => streams.AsSpan(2 * MaxRows, 2 * MaxRows);

    Span<int> WantedStreams => streams.AsSpan(4 * MaxRows);

    int Columns => HasStreams ? pagesPerStream : pagesPerSequence;

    public ReadOnlySpan<int> HostTokens => Tokens[..RowCount];

    public ReadOnlySpan<int> HostPositions => Positions[..RowCount];

    public ReadOnlySpan<int> HostSequences => Sequences[..RowCount];

    /// <summary>Of the rows of a batch with streams, in four parts as <see cref="StreamRows"/>: true and sink turns, spans.</summary>
    public (int TruePosition, int SinkTurn, int Sinks, int Window) HostStream(int row) =>
        (TruePositions[row], SinkTurns[row], Spans[2 * row], Spans[2 * row + 1]);

    /// <summary>All rows, on the device.</summary>
    public BatchRows Rows => new(deviceInts.Range(0, PaddedRows), deviceInts.Range(MaxRows, PaddedRows),
        deviceInts.Range(2 * MaxRows, PaddedRows), Streams(0, MaxRows, PaddedRows));

    /// <summary>The rows whose logits are wanted, on the device; their Tokens are their places among <see cref="Rows"/>.</summary>
    public BatchRows Wanted => new(deviceInts.Range(3 * MaxRows, WantedCount),
        deviceInts.Range(3 * MaxRows + MaxWanted, WantedCount),
        deviceInts.Range(3 * MaxRows + 2 * MaxWanted, WantedCount), Streams(4 * MaxRows, MaxWanted, WantedCount));

    StreamRows Streams(int start, int most, int rows) => !HasStreams ? default : new(deviceStreams.Range(start, rows),
        deviceStreams.Range(start + most, rows), deviceStreams.Range(start + 2 * most, 2 * rows).View(rows, 2));

    /// <summary>The page tables of one class: (maxSequences, pages per sequence), at an address that never changes.</summary>
    public Tensor PageTable(int pageClass) => deviceTables[pageClass];

    /// <summary>The same for passes in which some sequence slides: longer than others need.</summary>
    public Tensor StreamPageTable(int pageClass) => deviceStreamTables[pageClass];

    public void Clear()
    {
        RowCount = SequenceCount = WantedCount = LongestChunk = 0;
        HasStreams = false;
    }

    /// <summary>Rows that still fit, or 0 if no further sequence does.</summary>
    public int Room => SequenceCount < MaxSequences ? MaxRows - RowCount : 0;

    /// <summary>Adds the next rows of a sequence.</summary>
    /// <param name="tokens">the rows' tokens</param>
    /// <param name="firstPosition">position of the first of them</param>
    /// <param name="wanted">so many of the last rows' logits are wanted</param>
    /// <param name="slide">how they slide, if they do</param>
    /// <returns>
    /// the sequence's row in the page tables, to be filled through <see cref="TableRow"/> when all sequences are in the batch
    /// </returns>
    public int Add(ReadOnlySpan<int> tokens, int firstPosition, int wanted, KvSlide slide = default)
    {
        HasStreams |= !slide.IsNone;
        int sequence = SequenceCount++;
        tokens.CopyTo(Tokens[RowCount..]);
        for (int i = 0; i < tokens.Length; i++)
        {
            Positions[RowCount + i] = firstPosition + i - slide.Shift;
            Sequences[RowCount + i] = sequence;
            TruePositions[RowCount + i] = firstPosition + i;
            SinkTurns[RowCount + i] = slide.IsNone ? 0 : slide.Sinks + slide.Window - 1 - (firstPosition + i);
            Spans[2 * (RowCount + i)] = slide.Sinks;
            Spans[2 * (RowCount + i) + 1] = slide.Window;
        }
        RowCount += tokens.Length;
        LongestChunk = Math.Max(LongestChunk, tokens.Length);
        for (int row = tokens.Length - wanted; row < tokens.Length; row++)
        {
            int place = RowCount - tokens.Length + row;
            WantedRows[WantedCount] = place;
            WantedPositions[WantedCount] = Positions[place];
            WantedSequences[WantedCount] = sequence;
            WantedStreams[WantedCount] = TruePositions[place];
            WantedStreams[MaxWanted + WantedCount] = SinkTurns[place];
            Spans.Slice(2 * place, 2).CopyTo(WantedStreams[(2 * MaxWanted + 2 * WantedCount)..]);
            WantedCount++;
        }
        return sequence;
    }

    /// <summary>A sequence's page table of one class, to be written by the store.</summary>
    public Span<int> TableRow(int pageClass, int sequence) =>
        tables[pageClass].AsSpan(sequence * Columns, Columns);

    /// <summary>Copies everything to the device. Decodes are padded to a size that the backend may have recorded.</summary>
    /// <param name="withTables">false: the page tables there are still right</param>
    public void Upload(bool withTables = true)
    {
        PaddedRows = IsDecode && backend.Recorder is { } recorder
            ? Math.Min(recorder.BucketOf(RowCount), Math.Min(MaxRows, MaxWanted))
            : RowCount;
        Tokens[RowCount..PaddedRows].Fill(-1);
        Positions[RowCount..PaddedRows].Clear();
        Sequences[RowCount..PaddedRows].Fill(-1);
        backend.Write(deviceInts, MemoryMarshal.AsBytes<int>(ints));
        if (HasStreams)
        {
            TruePositions[RowCount..PaddedRows].Clear();
            SinkTurns[RowCount..PaddedRows].Clear();
            Spans[(2 * RowCount)..(2 * PaddedRows)].Clear();
            backend.Write(deviceStreams, MemoryMarshal.AsBytes<int>(streams));
        }
        for (int c = 0; withTables && c < tables.Length; c++)
        {
            backend.Write((HasStreams ? deviceStreamTables : deviceTables)[c].Top(SequenceCount),
                MemoryMarshal.AsBytes(tables[c].AsSpan(0, SequenceCount * Columns)));
        }
    }
}
