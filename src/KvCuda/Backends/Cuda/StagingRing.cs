using KvCuda.Gpu;

namespace KvCuda.Backends.Cuda;

/// <summary>
/// Pinned memory between the host's arrays and the device: two halves, one filled while the other is copied. A caller's
/// bytes may change as soon as a call returns, and small transfers never wait for the device.
/// </summary>
internal sealed unsafe class StagingRing : IDisposable
{
    readonly GpuStream stream;
    readonly PinnedMemory memory;
    readonly GpuEvent[] copied;
    readonly bool[] pending = new bool[2];
    readonly int halfBytes;
    int half;
    int used;

    public StagingRing(GpuStream stream, int halfBytes)
    {
        this.stream = stream;
        this.halfBytes = halfBytes;
        memory = new(stream.Context, 2 * halfBytes);
        copied = [new(stream.Context), new(stream.Context)];
    }

    /// <summary>Queues source to destination.</summary>
    public void Write(nint destination, ReadOnlySpan<byte> source)
    {
        while (source.Length > 0)
        {
            if (used == halfBytes)
            {
                Turn();
            }
            int count = Math.Min(source.Length, halfBytes - used);
            byte* place = memory.Pointer + half * halfBytes + used;
            source[..count].CopyTo(new(place, count));
            stream.CopyToDevice(destination, place, count);
            // Whole cache lines, so that the next transfer does not share one with this.
            used = Math.Min(halfBytes, (used + count + 127) & ~127);
            destination += count;
            source = source[count..];
        }
    }

    /// <summary>Waits for everything queued, then fills destination from source.</summary>
    public void Read(Span<byte> destination, nint source)
    {
        do
        {
            Turn();
            int count = Math.Min(destination.Length, halfBytes);
            byte* place = memory.Pointer + half * halfBytes;
            stream.CopyToHost(place, source, count);
            stream.Synchronize();
            new ReadOnlySpan<byte>(place, count).CopyTo(destination);
            source += count;
            destination = destination[count..];
        }
        while (destination.Length > 0);
        used = 0;
    }

    // Leaves this half to the copies that read it, and goes on in the other one when its own are done.
    void Turn()
    {
        copied[half].Record(stream);
        pending[half] = true;
        half ^= 1;
        used = 0;
        if (pending[half])
        {
            copied[half].Synchronize();
            pending[half] = false;
        }
    }

    public void Dispose()
    {
        copied[0].Dispose();
        copied[1].Dispose();
        memory.Dispose();
    }
}
