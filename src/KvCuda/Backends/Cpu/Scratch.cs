using System.Runtime.InteropServices;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// f32 scratch of one verb on one thread, taken from the thread's stack of native memory: a decode step allocates nothing
/// managed, and no page that the system would have to zero again. Must be disposed in reverse order of creation, on its thread.
/// </summary>
internal readonly unsafe ref struct Scratch : IDisposable
{
    readonly ScratchStack stack;

    public Scratch(long count)
    {
        stack = ScratchStack.OfThread;
        Address = stack.Take(count);
        Count = checked((int)count);
    }

    public float* Address { get; }

    public int Count { get; }

    public Span<float> Span => new(Address, Count);

    public void Dispose() => stack.Return();
}

/// <summary>Native memory of one thread, used from the bottom up. It keeps as much as was ever needed at once.</summary>
internal sealed unsafe class ScratchStack
{
    const int Alignment = 64, Least = 1 << 20;

    [ThreadStatic]
    static ScratchStack? ofThread;

    // The first block is kept. What does not fit goes to blocks of its own, until all is returned and the first can grow.
    readonly List<(nint Address, long Bytes)> blocks = [];
    readonly Stack<long> taken = new(64); // bytes; negative: a block of its own
    long used, usedOutside, most;

    public static ScratchStack OfThread => ofThread ??= new();

    public float* Take(long count)
    {
        long bytes = (Math.Max(count, 1) * sizeof(float) + Alignment - 1) / Alignment * Alignment;
        if (blocks.Count == 0)
        {
            Add(Math.Max(bytes, Least));
        }
        nint address;
        if (used + bytes <= blocks[0].Bytes)
        {
            address = blocks[0].Address + (nint)used;
            used += bytes;
            taken.Push(bytes);
        }
        else
        {
            address = Add(bytes);
            usedOutside += bytes;
            taken.Push(-bytes);
        }
        most = Math.Max(most, used + usedOutside);
        return (float*)address;
    }

    /// <summary>Gives back what was taken last.</summary>
    public void Return()
    {
        long bytes = taken.Pop();
        if (bytes < 0)
        {
            Remove(blocks.Count - 1);
            usedOutside += bytes;
        }
        else
        {
            used -= bytes;
        }
        if (taken.Count == 0 && most > blocks[0].Bytes)
        {
            Remove(0);
            Add(most);
        }
    }

    nint Add(long bytes)
    {
        nint address = (nint)NativeMemory.AlignedAlloc((nuint)bytes, Alignment);
        blocks.Add((address, bytes));
        return address;
    }

    void Remove(int block)
    {
        NativeMemory.AlignedFree((void*)blocks[block].Address);
        blocks.RemoveAt(block);
    }

    ~ScratchStack()
    {
        foreach ((nint address, _) in blocks)
        {
            NativeMemory.AlignedFree((void*)address);
        }
    }
}
