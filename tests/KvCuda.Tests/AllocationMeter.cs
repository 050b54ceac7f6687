namespace KvCuda.Tests;

/// <summary>
/// What the calling thread allocates between <see cref="Begin"/> and <see cref="End"/>. A collection, which any thread can cause, takes
/// a thread's unused share of the allocator away, and the rest of it then counts as allocated: stretches into which one fell
/// are left out and counted.
/// </summary>
internal sealed class AllocationMeter
{
    long before;
    int collections;

    /// <summary>Bytes allocated in undisturbed stretches.</summary>
    public long Bytes { get; private set; }

    /// <summary>Stretches without a collection.</summary>
    public int Undisturbed { get; private set; }

    public void Begin()
    {
        collections = GC.CollectionCount(0);
        before = GC.GetAllocatedBytesForCurrentThread();
    }

    public void End()
    {
        long after = GC.GetAllocatedBytesForCurrentThread();
        if (GC.CollectionCount(0) == collections)
        {
            Bytes += after - before;
            Undisturbed++;
        }
    }
}
