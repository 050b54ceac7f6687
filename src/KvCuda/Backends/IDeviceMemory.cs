using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>The memory of a backend, in order with its verbs.</summary>
internal interface IDeviceMemory
{
    /// <summary>The memory that <see cref="AllocateBytes"/> takes from, as it is now.</summary>
    MemoryInfo Memory { get; }

    /// <summary>New zeroed memory, 128-byte aligned, alive until <see cref="Free"/> or the backend's disposal.</summary>
    Tensor Allocate(string name, DType type, int rows, int columns);

    /// <summary>The same for weights in some format.</summary>
    Tensor Allocate(string name, WeightFormat format, int rows, int columns);

    /// <summary>New zeroed memory of <paramref name="bytes"/> bytes, 128-byte aligned: the arena of the KV store.</summary>
    /// <exception cref="DeviceException">There is not enough memory.</exception>
    nint AllocateBytes(string name, long bytes);

    /// <summary>Gives back what the methods above returned.</summary>
    void Free(nint address);

    /// <summary>A weight in host memory that outlives the backend, made readable by verbs: in place, or a copy.</summary>
    Tensor Load(in Tensor hostWeight);

    /// <summary>destination = source, in order with the verbs. The source may be reused at once.</summary>
    void Write(in Tensor destination, ReadOnlySpan<byte> source);

    /// <summary>destination = source, after all verbs queued so far.</summary>
    void Read(Span<byte> destination, in Tensor source);

    /// <summary>Copies whole KV pages (byte offsets are from the arena's address): copy on write.</summary>
    void CopyBytes(nint destination, nint source, long bytes);

    /// <summary>Waits for everything queued.</summary>
    void Synchronize();
}
