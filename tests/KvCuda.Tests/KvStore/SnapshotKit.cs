using KvCuda.KvStore;
using KvCuda.Tensors;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

/// <summary>A full class and a class of window 3, an arena in host memory, and tokens whose keys and values tell where they belong.</summary>
static class SnapshotKit
{
    public static readonly KvSnapshotIdentity Identity = new("model-1", "tokenizer-1", "0_1s", "numerics=consistent kernels=1");

    public static KvLayout Layout(int pageTokens = 2, string map = "0_1s", DType type = DType.F16, int headDim = 4) =>
        new(LayerSharing.Parse(map, map.Split('_').Length, 3), kvHeads: 2, headDim, type, pageTokens);

    public sealed class Memory(long bytes) : IKvBytes
    {
        readonly byte[] all = new byte[bytes];

        public void Read(long offset, Span<byte> destination) => all.AsSpan((int)offset, destination.Length).CopyTo(destination);
        public void Write(long offset, ReadOnlySpan<byte> source) => source.CopyTo(all.AsSpan((int)offset));

        public void Play(PageCopies copies)
        {
            foreach (PageCopy copy in copies)
            {
                Write((long)copy.Destination * KvPageShape.GranuleBytes, all.AsSpan(copy.Source * KvPageShape.GranuleBytes, (int)copy.Bytes));
            }
        }
    }

    /// <summary>The bytes that stand for one token's keys and values in one class.</summary>
    public static byte[] TokenBytes(int pageClass, int position, int count) =>
        [.. Enumerable.Range(0, count).Select(i => (byte)(pageClass * 101 + position * 7 + i))];

    /// <summary>Reserves, writes and accepts one token.</summary>
    public static void Step(this Store store, KvSequence sequence, int token, IKvBytes memory)
    {
        Assert.True(store.TryReserve(sequence, 1));
        memory.Play(store.TakeCopies());
        for (int c = 0; c < store.Layout.Classes.Count; c++)
        {
            byte[] page = new byte[store.Layout.Classes[c].PageBytes];
            long at = Place(store, sequence, c, sequence.Length);
            memory.Read(at, page);
            var codec = new KvTokenBytes(store.Layout, c);
            codec.Scatter(page, TokenBytes(c, sequence.Length, codec.Bytes), sequence.Length % store.Layout.PageTokens);
            memory.Write(at, page);
        }
        store.Advance(sequence, [token]);
    }

    /// <summary>Where the page of a position lies, in bytes; negative if there is none.</summary>
    public static long Place(Store store, KvSequence sequence, int pageClass, int position)
    {
        // By true position: the table of a sequence that slides is moved.
        int page = sequence.Pages(pageClass)[position / store.Layout.PageTokens];
        return page < 0 ? -1 : (long)store.Granule(page) * KvPageShape.GranuleBytes;
    }

    /// <summary>A snapshot of tokens 1000, 1001, ...</summary>
    public static byte[] Snapshot(KvLayout layout, int length)
    {
        var store = new Store(layout, 1 << 16);
        var memory = new Memory(store.ArenaBytes);
        KvSequence sequence = store.Open();
        for (int position = 0; position < length; position++)
        {
            store.Step(sequence, position + 1000, memory);
        }
        var file = new MemoryStream();
        KvSnapshotWriter.Write(file, sequence, layout, Identity, memory);
        return file.ToArray();
    }
}
