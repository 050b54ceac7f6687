using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>The store's arena on a backend, as the bytes that snapshots read and write.</summary>
internal sealed class ArenaBytes(IBackend backend, nint arena) : IKvBytes
{
    public void Read(long offset, Span<byte> destination) => backend.Read(destination, View(offset, destination.Length));

    public void Write(long offset, ReadOnlySpan<byte> source) => backend.Write(View(offset, source.Length), source);

    public void Copy(long destination, long source, long bytes) =>
        backend.CopyBytes(arena + (nint)destination, arena + (nint)source, bytes);

    // Every element of a page has at least two bytes.
    Tensor View(long offset, int bytes) => new("arena", DType.BF16, arena + (nint)offset, 1, bytes / 2);
}
