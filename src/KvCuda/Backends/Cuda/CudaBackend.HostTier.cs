using KvCuda.Gpu;

namespace KvCuda.Backends.Cuda;

// The host tier: pinned memory, and copies to and from it on a stream of their own. One stream for both directions: what comes
// up then never overtakes what goes down before it, so that host pages and device pages may change hands between two copies
// without a wait; the two directions of the bus are not used at once for that.
internal sealed unsafe partial class CudaBackend
{
    const int FencesKept = 8;

    readonly List<PinnedMemory> hostMemory = [];
    readonly (long Number, GpuEvent Mark)[] fences = new (long, GpuEvent)[FencesKept];
    GpuStream? copies;
    GpuEvent? verbsQueued;
    int lastFence;
    bool joined;                 // copies queued now come after every verb queued so far

    public nint AllocateHost(long bytes)
    {
        using GpuContext.Scope scope = Begin();
        if (copies is null)
        {
            copies = GpuStream.Create(context);
            verbsQueued = new(context);
            for (int i = 0; i < FencesKept; i++)
            {
                fences[i].Mark = new(context);
            }
        }
        var memory = new PinnedMemory(context, bytes);
        hostMemory.Add(memory);
        return (nint)memory.Pointer;
    }

    public void CopyToHost(nint host, nint source, long bytes)
    {
        using GpuContext.Scope scope = BeginCopy();
        copies!.CopyToHost((void*)host, source, bytes);
    }

    public void CopyFromHost(nint destination, nint host, long bytes)
    {
        using GpuContext.Scope scope = BeginCopy();
        copies!.CopyToDevice(destination, (void*)host, bytes);
    }

    public void Fence(long number)
    {
        using GpuContext.Scope scope = BeginCopy();
        if (fences[lastFence].Number != number)
        {
            lastFence = (lastFence + 1) % FencesKept;
        }
        fences[lastFence].Number = number;
        fences[lastFence].Mark.Record(copies!);
    }

    public void WaitFor(long number)
    {
        using GpuContext.Scope scope = Begin();
        // The oldest mark that will do: the number's own, or where that is forgotten, the oldest that is not.
        int best = lastFence;
        for (int i = 0; i < FencesKept; i++)
        {
            if (fences[i].Number >= number && fences[i].Number < fences[best].Number)
            {
                best = i;
            }
        }
        if (fences[best].Number < number)
        {
            throw new InvalidOperationException($"Copies up to {number} are waited for; the last fence is {fences[best].Number}.");
        }
        stream.Wait(fences[best].Mark);
    }

    // The first copy after a verb waits for the verbs; those after it are behind it.
    GpuContext.Scope BeginCopy()
    {
        bool behind = joined;
        GpuContext.Scope scope = Begin();
        if (!behind)
        {
            verbsQueued!.Record(stream);
            copies!.Wait(verbsQueued);
        }
        joined = true;
        return scope;
    }

    void DisposeHostTier()
    {
        foreach ((_, GpuEvent? mark) in fences)
        {
            mark?.Dispose();
        }
        verbsQueued?.Dispose();
        copies?.Dispose();
        foreach (PinnedMemory memory in hostMemory)
        {
            memory.Dispose();
        }
    }
}
