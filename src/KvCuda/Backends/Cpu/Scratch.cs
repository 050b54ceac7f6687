using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>f32 scratch of one verb on one thread: native, so that a decode step allocates nothing managed.</summary>
internal readonly unsafe ref struct Scratch : IDisposable
{
    readonly bool owned;

    public Scratch(int count)
    {
        Address = (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), 64);
        Span = new(Address, count);
        owned = true;
    }

    Scratch(float* borrowed, int count)
    {
        Address = borrowed;
        Span = new(borrowed, count);
    }

    public float* Address { get; }

    public Span<float> Span { get; }

    /// <summary>A stored vector as f32: in place if that is what it is, else widened.</summary>
    public static Scratch Of(void* source, int count, DType type)
    {
        if (type == DType.F32)
        {
            return new((float*)source, count);
        }
        Scratch widened = new(count);
        RowKernels.Widen(widened.Span, source, 0, type);
        return widened;
    }

    public void Dispose()
    {
        if (owned)
        {
            NativeMemory.AlignedFree(Address);
        }
    }
}
