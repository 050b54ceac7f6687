using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// One growing run of tokens and the pages that hold their keys and values: a table of pages per class. Made by
/// <see cref="KvStore.Open"/>; only its store changes it.
/// </summary>
internal sealed class KvSequence
{
    internal const int None = -1;

    readonly KvStore store;
    readonly int[][] pages;      // [class][page index] -> page handle, None where there is none
    int[] tokens = [];

    internal KvSequence(KvStore store, int classes, int maxTokens, long session, KvStreaming? streaming)
    {
        this.store = store;
        MaxTokens = maxTokens;
        Session = session;
        Streaming = streaming;
        pages = new int[classes][];
        Array.Fill(pages, []);
        FirstLive = new int[classes];
    }

    /// <summary>The session it belongs to; 0: none.</summary>
    public long Session { get; }

    /// <summary>Set if old tokens are forgotten at constant memory.</summary>
    public KvStreaming? Streaming { get; }

    /// <summary>The longest it was announced to become; 0: not announced.</summary>
    public int MaxTokens { get; }

    /// <summary>Tokens that <see cref="KvStore.Match"/> found.</summary>
    public int CachedTokens { get; internal set; }

    /// <summary>Accepted tokens.</summary>
    public int Length { get; internal set; }

    /// <summary>The accepted tokens.</summary>
    public ReadOnlySpan<int> Tokens => tokens.AsSpan(0, Length);

    /// <summary>Number of page indices in use: pages of all classes have indices below it.</summary>
    public int PageCount { get; internal set; }

    /// <summary>
    /// Changes whenever an entry of a page table of this sequence does, except when the store moves pages
    /// (<see cref="KvStore.Moves"/>): as long as both stand still, a written table is still right.
    /// </summary>
    public long TableVersion { get; internal set; }

    /// <summary>Whether <see cref="KvStore.Close"/> was called.</summary>
    public bool IsClosed { get; internal set; }

    // Where its next full page enters the prefix tree; None: it publishes nothing.
    internal int Cursor { get; set; } = None;
    internal int CursorGeneration { get; set; }

    // Its place in the store's list of open sequences.
    internal int Index { get; set; }

    internal List<(int Start, int End, KvRetention Retention)>? Retentions { get; set; }

    // Of a window class: no page of an index from the sinks' end up to this one is held.
    internal int[] FirstLive { get; }

    internal KvStore Store => store;

    /// <summary>
    /// How the rows from <see cref="Length"/> on slide. Those of one pass slide all or none: the store's user ends a chunk where
    /// sliding begins, at <see cref="KvStreaming.ExactTokens"/>.
    /// </summary>
    public KvSlide Slide
    {
        get
        {
            if (Streaming is not { } t || Length < t.ExactTokens)
            {
                return default;
            }
            int chunk = Math.Max(AttentionMask.ChunkTokens, store.Layout.PageTokens);
            return new(t.Sinks, t.Window, (Length + 1 - t.Window) / chunk * chunk - (t.Sinks + chunk - 1) / chunk * chunk);
        }
    }

    /// <summary>How many of the next <paramref name="rows"/> rows a pass may have: it ends where sliding begins.</summary>
    public int BeforeSliding(int rows) =>
        Streaming is { } t && Length < t.ExactTokens ? Math.Min(rows, t.ExactTokens - Length) : rows;

    /// <summary>
    /// Writes the page addresses of a class, in granules: entry j is the page of tokens [j P, (j+1) P), -1 where there is
    /// none. Entries beyond the reserved pages become -1. Of a sequence that slides, the pages of its sinks are where they were,
    /// and those of its window are moved by <see cref="KvSlide.Shift"/>: the table's length does not grow with the sequence.
    /// </summary>
    public void WriteTable(int pageClass, Span<int> row)
    {
        KvSlide slide = Slide;
        if (!slide.IsNone)
        {
            WriteSlidingTable(pageClass, row, slide);
            return;
        }
        if (row.Length < PageCount)
        {
            throw new ArgumentException($"A table row of {row.Length} entries cannot hold the {PageCount} pages of this sequence.");
        }
        ReadOnlySpan<int> held = pages[pageClass].AsSpan(0, PageCount);
        for (int j = 0; j < held.Length; j++)
        {
            row[j] = held[j] < 0 ? None : store.Granule(held[j]);
        }
        row[held.Length..].Fill(None);
    }

    void WriteSlidingTable(int pageClass, Span<int> row, KvSlide slide)
    {
        int pageTokens = store.Layout.PageTokens, chunk = Math.Max(AttentionMask.ChunkTokens, pageTokens);
        int sinks = (slide.Sinks + pageTokens - 1) / pageTokens, shift = slide.Shift / pageTokens;
        int first = (Length + 1 - slide.Window) / chunk * (chunk / pageTokens);
        if (row.Length < PageCount - shift)
        {
            throw new ArgumentException($"A table row of {row.Length} entries cannot hold {sinks} pages of sinks and {PageCount - first} of a window.");
        }
        row.Fill(None);
        ReadOnlySpan<int> held = Pages(pageClass);
        for (int j = 0; j < sinks; j++)
        {
            row[j] = held[j] < 0 ? None : store.Granule(held[j]);
        }
        for (int j = first; j < held.Length; j++)
        {
            row[j - shift] = held[j] < 0 ? None : store.Granule(held[j]);
        }
    }

    internal Span<int> Pages(int pageClass) => pages[pageClass].AsSpan(0, PageCount);

    // Makes room for page indices below count. New entries are None.
    internal void GrowPages(int count)
    {
        if (count <= PageCount)
        {
            return;
        }
        for (int c = 0; c < pages.Length; c++)
        {
            if (pages[c].Length < count)
            {
                Array.Resize(ref pages[c], Math.Max(count, 2 * pages[c].Length));
            }
            pages[c].AsSpan(PageCount, count - PageCount).Fill(None);
        }
        PageCount = count;
    }

    internal void Append(ReadOnlySpan<int> accepted)
    {
        int length = Length + accepted.Length;
        if (tokens.Length < length)
        {
            Array.Resize(ref tokens, Math.Max(length, 2 * tokens.Length));
        }
        accepted.CopyTo(tokens.AsSpan(Length));
        Length = length;
    }
}
