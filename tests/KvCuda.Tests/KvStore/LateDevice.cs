using KvCuda.KvStore;

namespace KvCuda.Tests.KvStore;

/// <summary>
/// The memories that a store's copies go between. Copies within the device happen at once; those to and from the host happen
/// in their own order and as late as <see cref="PageCopies"/> allows, so that a page written too early shows in the host's copy.
/// </summary>
sealed class LateDevice(int pageTokens)
{
    const ulong Poison = 0xDEAD_DEAD_DEAD_DEAD;

    Dictionary<int, ulong[]> device = [], host = [];
    Queue<(PageCopy Copy, long Number)> late = [];

    /// <summary>The tokens of the device's page at a granule.</summary>
    public ulong[] Cells(int granule) => At(device, granule);

    /// <summary>The tokens of the host's page at a granule.</summary>
    public ulong[] HostCells(int granule) => At(host, granule);

    /// <summary>What would be there if nothing came in between.</summary>
    public LateDevice Settled()
    {
        LateDevice copy = new(pageTokens)
        {
            device = device.ToDictionary(p => p.Key, p => (ulong[])[.. p.Value]),
            host = host.ToDictionary(p => p.Key, p => (ulong[])[.. p.Value]),
            late = new(late),
        };
        copy.Finish(long.MaxValue);
        return copy;
    }

    /// <summary>Queues and plays, in the order that a backend keeps.</summary>
    public void Play(PageCopies copies)
    {
        bool beside = false, up = false;
        Finish(copies.Overwrites);
        foreach (PageCopy copy in copies)
        {
            if (copy.Move == PageMove.Within)
            {
                if (beside)
                {
                    Finish(copies.Number);
                    beside = false;
                }
                device[copy.Destination] = [.. Cells(copy.Source)];
            }
            else
            {
                late.Enqueue((copy, copies.Number));
                up |= copy.Move == PageMove.Up;
                beside = true;
            }
        }
        if (up || copies.OverwritesOwn)
        {
            Finish(copies.Number);
        }
    }

    /// <summary>Free pages hold nothing that a later read would take for keys and values.</summary>
    public void PoisonAllBut(HashSet<int> onDevice, HashSet<int> onHost)
    {
        foreach ((PageCopy copy, _) in late)
        {
            (copy.Move == PageMove.Down ? onDevice : onHost).Add(copy.Source);
        }
        foreach ((int granule, ulong[] cells) in device)
        {
            if (!onDevice.Contains(granule))
            {
                Array.Fill(cells, Poison);
            }
        }
        foreach ((int granule, ulong[] cells) in host)
        {
            if (!onHost.Contains(granule))
            {
                Array.Fill(cells, Poison);
            }
        }
    }

    void Finish(long number)
    {
        while (late.TryPeek(out (PageCopy Copy, long Number) first) && first.Number <= number)
        {
            late.Dequeue();
            bool down = first.Copy.Move == PageMove.Down;
            (down ? host : device)[first.Copy.Destination] = [.. At(down ? device : host, first.Copy.Source)];
        }
    }

    ulong[] At(Dictionary<int, ulong[]> memory, int granule)
    {
        if (!memory.TryGetValue(granule, out ulong[]? cells))
        {
            memory[granule] = cells = new ulong[pageTokens];
            Array.Fill(cells, Poison);
        }
        return cells;
    }
}
