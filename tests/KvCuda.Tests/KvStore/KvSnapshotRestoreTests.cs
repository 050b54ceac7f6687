using KvCuda.KvStore;
using static KvCuda.Tests.KvStore.SnapshotKit;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

public sealed class KvSnapshotRestoreTests
{
    static readonly KvScope Scope = new("tenant");

    static int[] Tokens(int count) => [.. Enumerable.Range(1000, count)];

    // Every token that the next row would see has the bytes that belong there.
    static void ExpectContents(Store store, KvSequence sequence, Memory memory)
    {
        for (int c = 0; c < store.Layout.Classes.Count; c++)
        {
            KvClass k = store.Layout.Classes[c];
            var codec = new KvTokenBytes(store.Layout, c);
            byte[] page = new byte[k.PageBytes], token = new byte[codec.Bytes];
            for (int position = 0; position < sequence.Length; position++)
            {
                if (k.IsFull || position > sequence.Length - k.Window)
                {
                    memory.Read(Place(store, sequence, c, position), page);
                    codec.Gather(token, page, position % store.Layout.PageTokens);
                    Assert.Equal(TokenBytes(c, position, token.Length), token);
                }
            }
        }
    }

    [Theory]
    [InlineData("0_1s", 2, 10, 10)]
    [InlineData("0_1s", 2, 11, 10)]
    [InlineData("0_1s", 1, 10, 10)]
    [InlineData("0_1", 4, 16, 16)]
    [InlineData("0_1", 8, 15, 8)]
    [InlineData("0s", 8, 11, 0)]     // windows only, and no whole page of them
    [InlineData("0_1s", 4, 16, 0)]   // tokens 12 and 13 were forgotten by the window, so that 12 to 15 is no whole page
    public void Restored_work_shows_up_as_cached_tokens(string map, int pageTokens, int saved, int expected)
    {
        byte[] file = Snapshot(Layout(2, map), saved);
        var store = new Store(Layout(pageTokens, map), 1 << 14);
        var memory = new Memory(store.ArenaBytes);

        Assert.Equal(expected, store.Restore(new MemoryStream(file), Scope, Identity, memory));
        store.Verify();
        Assert.Equal(0, store.Usage.ActiveBytes);
        KvSequence s = store.Open();
        Assert.Equal(expected, store.Match(s, Tokens(saved + 5), Scope));
        ExpectContents(store, s, memory);
        Assert.Equal(expected, store.Counters.Hits[(int)KvHit.Restored]);
        Assert.Equal(0, store.Match(store.Open(), Tokens(saved + 5), new KvScope("another tenant")));
    }

    [Fact]
    public void A_refused_snapshot_leaves_the_pool_as_it_was()
    {
        byte[] file = Snapshot(Layout(), 9);
        var store = new Store(Layout(), 1 << 12);
        var memory = new Memory(store.ArenaBytes);
        KvSequence s = store.Open();
        store.Match(s, [5, 6, 7, 8], Scope);
        for (int i = 0; i < 5; i++)
        {
            store.Step(s, 5 + i, memory);
        }
        store.Close(s);
        KvUsage before = store.Usage;
        byte[] bytes = new byte[store.ArenaBytes], after = new byte[store.ArenaBytes];
        memory.Read(0, bytes);
        for (int i = 0; i < file.Length; i++)
        {
            foreach (int mask in (int[])[0x01, 0x80, 0xFF])
            {
                byte[] mutated = [.. file];
                mutated[i] ^= (byte)mask;
                Assert.Throws<KvSnapshotException>(() => store.Restore(new MemoryStream(mutated), Scope, Identity, memory));
            }
            Assert.Throws<KvSnapshotException>(() => store.Restore(new MemoryStream(file[..i]), Scope, Identity, memory));
        }
        memory.Read(0, after);
        Assert.True(bytes.AsSpan().SequenceEqual(after));
        store.Verify();
        Assert.Equal(before.Kinds, store.Usage.Kinds);
        Assert.Equal(4, store.Peek([5, 6, 7, 8, 9], Scope));
    }

    [Fact]
    public void A_file_that_changes_while_it_is_read_enters_nothing()
    {
        byte[] file = Snapshot(Layout(), 9);
        var store = new Store(Layout(), 1 << 12);
        // The last byte of the first block's data changes once the whole file has been checked.
        var turncoat = new Turncoat(file, at: file.Length - 40);
        Assert.Throws<KvSnapshotException>(() => store.Restore(turncoat, Scope, Identity, new Memory(store.ArenaBytes)));
        store.Verify();
        Assert.Equal(store.ArenaBytes, store.Usage.FreeBytes);
        Assert.Equal(0, store.Peek(Tokens(20), Scope));
    }

    [Fact]
    public void Without_room_nothing_is_restored_and_what_can_never_fit_is_an_error()
    {
        byte[] file = Snapshot(Layout(), 8);
        long page = Layout().Classes[0].PageBytes;
        var store = new Store(Layout(), 6 * page, page);
        var memory = new Memory(store.ArenaBytes);
        KvSequence s = store.Open();
        store.Step(s, 1, memory);
        Assert.Equal(0, store.Restore(new MemoryStream(file), Scope, Identity, memory));
        store.Verify();
        store.Close(s);
        Assert.Equal(8, store.Restore(new MemoryStream(file), Scope, Identity, memory));
        var small = new Store(Layout(), 4 * page, page);
        Assert.Throws<KvBudgetException>(() => small.Restore(new MemoryStream(file), Scope, Identity, memory));
        small.Verify();
    }

    [Fact]
    public void Restoring_makes_room_by_eviction_and_by_moving_pages()
    {
        var random = new Random(3);
        byte[][] files = [.. Enumerable.Range(1, 9).Select(n => Snapshot(Layout(), 2 * n))];
        for (int round = 0; round < 120; round++)
        {
            KvLayout layout = Layout();
            long page = layout.Classes[0].PageBytes;
            var store = new Store(layout, 24 * page, page * random.Next(1, 5));
            var memory = new Memory(store.ArenaBytes);
            var open = new List<KvSequence>();
            for (int step = 0; step < 30; step++)
            {
                if (random.Next(3) == 0)
                {
                    store.Restore(new MemoryStream(files[random.Next(files.Length)]), Scope, Identity, memory);
                }
                else if (open.Count > 0 && random.Next(4) == 0)
                {
                    int i = random.Next(open.Count);
                    store.Close(open[i]);
                    open.RemoveAt(i);
                }
                else if (open.Count < 3)
                {
                    KvSequence s = store.Open();
                    open.Add(s);
                    store.Match(s, Tokens(random.Next(1, 20)), Scope);
                }
                foreach (KvSequence s in open)
                {
                    if (store.TryReserve(s, 1))
                    {
                        store.Step(s, 1000 + s.Length, memory);
                    }
                    ExpectContents(store, s, memory);
                }
                store.Verify();
            }
        }
    }

    [Fact]
    public void A_stream_that_has_forgotten_tokens_cannot_be_saved()
    {
        var store = new Store(Layout(map: "0_1"), 1 << 12);
        var memory = new Memory(store.ArenaBytes);
        KvSequence s = store.Open(streaming: new KvStreaming(Sinks: 1, Window: 3));
        for (int i = 0; i < 5; i++)
        {
            store.Step(s, i, memory);
        }
        string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        Assert.Throws<InvalidRequestException>(() => store.Save(path, s, Identity, memory));
        Assert.False(File.Exists(path));
    }

    sealed class Turncoat(byte[] file, int at) : MemoryStream([.. file], writable: true)
    {
        int passes;

        public override int Read(byte[] buffer, int offset, int count)
        {
            int read = base.Read(buffer, offset, count);
            if (Position >= Length && passes++ == 0)
            {
                Position = at;
                WriteByte((byte)(file[at] ^ 1));
                Position = Length;
            }
            return read;
        }
    }
}
