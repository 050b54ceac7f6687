namespace KvCuda.Tests;

/// <summary>
/// What the calling thread allocates in stretches between <see cref="Begin"/> and <see cref="End"/>. A collection, which any thread can
/// cause, takes a thread's unused share of the allocator away, and the rest of it then counts as allocated, once: a stretch in
/// which a collection ran may show bytes that nobody asked for, another may not.
/// </summary>
internal sealed class AllocationMeter
{
    long before;
    int collections;
    TimeSpan paused;

    /// <summary>Bytes of stretches in which no collection ran.</summary>
    public long Bytes { get; private set; }

    /// <summary>Stretches that show bytes because, or while, a collection ran.</summary>
    public int Disturbed { get; private set; }

    public void Begin()
    {
        collections = GC.CollectionCount(0);
        paused = GC.GetTotalPauseDuration();
        before = GC.GetAllocatedBytesForCurrentThread();
    }

    public void End()
    {
        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
        // A background collection takes the shares when it begins and is counted when it ends: its pause tells.
        if (GC.CollectionCount(0) == collections && GC.GetTotalPauseDuration() == paused)
        {
            Bytes += bytes;
        }
        else if (bytes != 0)
        {
            Disturbed++;
        }
    }
}
