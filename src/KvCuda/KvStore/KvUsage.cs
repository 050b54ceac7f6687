namespace KvCuda.KvStore;

/// <summary>
/// How the pages of one kind are spent. Total = Free + Active + Cached + Pinned.
/// </summary>
/// <param name="Free">pages that hold nothing, in slabs of this kind</param>
/// <param name="Active">pages of open sequences</param>
/// <param name="Cached">pages of no open sequence that may be evicted</param>
/// <param name="Pinned">pages of no open sequence that may not</param>
/// <param name="PageBytes">bytes of one page</param>
/// <param name="Slabs">slabs of this kind</param>
/// <param name="HostCached">pages in the host tier, which are none of the others</param>
internal readonly record struct KvKindUsage(
    int Free, int Active, int Cached, int Pinned, long PageBytes, int Slabs, int HostCached = 0)
{
    public int Total => Free + Active + Cached + Pinned;
}

/// <summary>
/// How the arena is spent, in bytes: ArenaBytes = FreeBytes + ActiveBytes + CachedBytes + PinnedBytes. Free bytes are those of
/// slabs without a kind, of free pages, and the tails of slabs. The host tier's bytes are its own:
/// HostArenaBytes = HostCachedBytes + HostFreeBytes.
/// </summary>
/// <param name="ArenaBytes">slabs * slab bytes</param>
/// <param name="FreeSlabs">slabs without a kind</param>
/// <param name="SlabBytes">bytes of one slab</param>
/// <param name="Kinds">per class of the layout</param>
/// <param name="HostArenaBytes">bytes of the host tier; 0: there is none</param>
internal sealed record KvUsage(
    long ArenaBytes, int FreeSlabs, long SlabBytes, IReadOnlyList<KvKindUsage> Kinds, long HostArenaBytes = 0)
{
    public long HostCachedBytes => Kinds.Sum(k => k.HostCached * k.PageBytes);
    public long HostFreeBytes => HostArenaBytes - HostCachedBytes;
    public long ActiveBytes => Kinds.Sum(k => k.Active * k.PageBytes);
    public long CachedBytes => Kinds.Sum(k => k.Cached * k.PageBytes);
    public long PinnedBytes => Kinds.Sum(k => k.Pinned * k.PageBytes);
    public long FreeBytes => ArenaBytes - ActiveBytes - CachedBytes - PinnedBytes;
    public int FreePages => Kinds.Sum(k => k.Free);
    public int ActivePages => Kinds.Sum(k => k.Active);
    public int CachedPages => Kinds.Sum(k => k.Cached);
    public int PinnedPages => Kinds.Sum(k => k.Pinned);

    /// <summary>
    /// The share of the arena that is free, but bound to one kind because its slab also holds pages in use (or is the
    /// tail of a slab).
    /// </summary>
    public double Fragmentation => ArenaBytes == 0 ? 0 : (double)(FreeBytes - FreeSlabs * SlabBytes) / ArenaBytes;
}
