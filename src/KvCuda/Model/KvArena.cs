using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>
/// The memory behind a store's pages: one range on the device, and for the host tier chunks of host memory. Plays on the
/// backend what the store decides, with as little waiting as the order of things allows.
/// </summary>
internal sealed class KvArena : IKvBytes
{
    /// <summary>
    /// Host memory is pinned in chunks of about this size: pinning takes the driver some tenths of a second per GiB, so that
    /// loading can report and be cancelled in between, and a refusal can say how far it came.
    /// </summary>
    const long ChunkBytes = 64L << 20;

    readonly IBackend backend;
    readonly IHostTier? tier;    // where chunks are
    readonly nint[] chunks;
    readonly long chunkBytes;    // whole slabs, so that no page lies in two chunks
    long waited;                 // verbs already wait for the copies of lists up to this number

    /// <param name="backend">where the pages live; it frees them</param>
    /// <param name="store">what they are for</param>
    /// <param name="progress">told the share of the host tier that is there</param>
    /// <exception cref="DeviceException">The device or the host has not so much memory.</exception>
    /// <exception cref="InvalidRequestException">The backend has no host tier.</exception>
    public KvArena(IBackend backend, KvStore.KvStore store, Action<double> progress)
    {
        this.backend = backend;
        Address = backend.AllocateBytes("key/value arena", store.ArenaBytes);
        chunkBytes = Math.Max(1, ChunkBytes / store.SlabBytes) * store.SlabBytes;
        chunks = new nint[(store.HostArenaBytes + chunkBytes - 1) / chunkBytes];
        tier = backend.HostTier;
        if (chunks.Length > 0 && tier is null)
        {
            throw new InvalidRequestException(
                $"A host tier (--host-kv-budget, HostKvBudgetBytes) was asked for, but {backend.Name} keeps keys and values in "
                + "host memory anyway; give --kv-budget (KvBudgetBytes) more instead.");
        }
        for (int i = 0; i < chunks.Length; i++)
        {
            progress((double)i / chunks.Length);
            long done = i * chunkBytes;
            try
            {
                chunks[i] = tier!.AllocateHost(Math.Min(chunkBytes, store.HostArenaBytes - done));
            }
            catch (DeviceException e)
            {
                throw new DeviceException(
                    $"The host tier of {store.HostArenaBytes:N0} bytes cannot be pinned: after {done:N0} bytes the driver refused. " +
                    $"Give --host-kv-budget (HostKvBudgetBytes) less, or free memory. {e.Message}", e);
            }
        }
    }

    /// <summary>Where the device's arena begins.</summary>
    public nint Address { get; }

    public void Read(long offset, Span<byte> destination) => backend.Read(destination, View(offset, destination.Length));

    public void Write(long offset, ReadOnlySpan<byte> source) => backend.Write(View(offset, source.Length), source);

    /// <summary>
    /// Queues the copies: those within the device among the verbs, those to and from the host beside them. Verbs queued
    /// later find what came up, and write no page before its copy down is done; otherwise they do not wait.
    /// </summary>
    public void Play(PageCopies copies)
    {
        bool beside = false, up = false;
        Wait(copies.Overwrites);
        foreach (PageCopy copy in copies)
        {
            switch (copy.Move)
            {
                case PageMove.Down:
                    tier!.CopyToHost(Host(copy.Destination), Device(copy.Source), copy.Bytes);
                    break;
                case PageMove.Up:
                    tier!.CopyFromHost(Device(copy.Destination), Host(copy.Source), copy.Bytes);
                    up = true;
                    break;
                default:
                    if (beside)
                    {
                        // It may read what came up, or write where a copy down reads.
                        tier!.Fence(copies.Number);
                        tier!.WaitFor(copies.Number);
                        beside = up = false;
                    }
                    backend.CopyBytes(Device(copy.Destination), Device(copy.Source), copy.Bytes);
                    continue;
            }
            beside = true;
        }
        if (beside)
        {
            tier!.Fence(copies.Number);
        }
        if (up || copies.OverwritesOwn)
        {
            Wait(copies.Number);
        }
    }

    void Wait(long number)
    {
        if (number > waited)
        {
            tier!.WaitFor(number);
            waited = number;
        }
    }

    nint Device(int granule) => Address + (nint)granule * KvPageShape.GranuleBytes;

    nint Host(int granule)
    {
        long offset = (long)granule * KvPageShape.GranuleBytes;
        return chunks[offset / chunkBytes] + (nint)(offset % chunkBytes);
    }

    // Every element of a page has at least two bytes.
    Tensor View(long offset, int bytes) => new("arena", DType.BF16, Address + (nint)offset, 1, bytes / 2);
}
