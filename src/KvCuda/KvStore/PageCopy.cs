namespace KvCuda.KvStore;

/// <summary>Between which memories a page is copied.</summary>
internal enum PageMove
{
    /// <summary>Within the device's arena.</summary>
    Within,

    /// <summary>From the device to the host.</summary>
    Down,

    /// <summary>From the host to the device.</summary>
    Up,
}

/// <summary>A copy of one page. Places are granules from the start of the device's arena or the host's, as the move says.</summary>
/// <param name="Source">first granule to read</param>
/// <param name="Destination">first granule to write</param>
/// <param name="Bytes">bytes to copy</param>
/// <param name="Move">between which memories</param>
internal readonly record struct PageCopy(int Source, int Destination, long Bytes, PageMove Move = PageMove.Within);

/// <summary>
/// Copies that must be as good as done, in this order, before the next forward pass. What they may be late for: a copy
/// down only has to be done before something is written where it reads, and <see cref="Overwrites"/> says when that is.
/// </summary>
internal sealed class PageCopies : List<PageCopy>
{
    /// <summary>Grows from list to list.</summary>
    public long Number { get; set; }

    /// <summary>
    /// Pages handed out since the list before lie where copies down of an earlier list, the one of this number (and maybe of
    /// still earlier ones), read: those must be done before this list's copies within the device and before the next pass.
    /// 0: nothing does.
    /// </summary>
    public long Overwrites { get; set; }

    /// <summary>
    /// Pages lie where copies down of this very list read: those must be done before the copies within the device that come
    /// after them in the list, and before the next pass.
    /// </summary>
    public bool OverwritesOwn { get; set; }
}
