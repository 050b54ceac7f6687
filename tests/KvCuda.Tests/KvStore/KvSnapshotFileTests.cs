using System.Buffers.Binary;
using System.Security.Cryptography;
using KvCuda.KvStore;
using KvCuda.Tensors;
using static KvCuda.Tests.KvStore.SnapshotKit;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

public sealed class KvSnapshotFileTests
{
    static KvSnapshotException Refused(byte[] file, KvLayout? layout = null, KvSnapshotIdentity? identity = null) =>
        Assert.Throws<KvSnapshotException>(() => new KvSnapshotReader(new MemoryStream(file), layout ?? Layout(), identity ?? Identity));

    // Makes the checksums of a changed file right again, as somebody would who means harm.
    static byte[] Resealed(byte[] file)
    {
        int front = KvSnapshotHeader.FixedBytes + BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(12));
        if (front < KvSnapshotHeader.FixedBytes || front + 32 > file.Length)
        {
            return file;
        }
        byte[] resealed = [.. file];
        SHA256.HashData(file.AsSpan(0, front)).CopyTo(resealed, front);
        return resealed;
    }

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(64)]
    public void A_snapshot_is_the_same_whatever_the_page_size(int pageTokens)
    {
        const int length = 4;
        byte[] file = Snapshot(Layout(pageTokens, map: "0_1"), length);
        Assert.Equal(Snapshot(Layout(8, map: "0_1"), length), file);
    }

    [Fact]
    public void What_was_written_is_read_with_the_tokens_in_order()
    {
        KvLayout layout = Layout();
        var reader = new KvSnapshotReader(new MemoryStream(Snapshot(layout, 9)), layout, Identity);
        Assert.Equal(Enumerable.Range(1000, 9), reader.Header.Tokens);
        Assert.Equal([new KvTokenRange(0, 9)], reader.Header.Classes[0].Ranges);
        Assert.Equal([new KvTokenRange(6, 9)], reader.Header.Classes[1].Ranges); // position 9 sees 7, on page 3
        for (int c = 0; c < 2; c++)
        {
            var seen = new List<int>();
            reader.ReadClass(c, (token, bytes) =>
            {
                seen.Add(token);
                Assert.Equal(TokenBytes(c, token, bytes.Length), bytes.ToArray());
            });
            Assert.Equal(Enumerable.Range(9 - seen.Count, seen.Count), seen);
        }
    }

    [Fact]
    public void Many_blocks_are_read_as_they_were_written()
    {
        var layout = new KvLayout(LayerSharing.Parse("0", 1, 0), kvHeads: 64, headDim: 512, DType.F32, pageTokens: 4);
        var store = new Store(layout, 8 << 20);
        var memory = new Memory(store.ArenaBytes);
        byte[] noise = new byte[store.ArenaBytes];
        new Random(1).NextBytes(noise);
        memory.Write(0, noise);
        KvSequence sequence = store.Open();
        Assert.True(store.TryReserve(sequence, 15));
        store.Advance(sequence, [.. Enumerable.Range(0, 15)]);
        var file = new MemoryStream();
        KvSnapshotWriter.Write(file, sequence, layout, Identity, memory);
        Assert.True(file.Length > 3 << 20);

        var reader = new KvSnapshotReader(file, layout, Identity);
        int[] table = new int[4];
        sequence.WriteTable(0, table);
        byte[] page = new byte[layout.Classes[0].PageBytes];
        var codec = new KvTokenBytes(layout, 0);
        byte[] expected = new byte[codec.Bytes];
        int count = 0;
        reader.ReadClass(0, (token, bytes) =>
        {
            memory.Read((long)table[token / 4] * 128, page);
            codec.Gather(expected, page, token % 4);
            Assert.True(bytes.SequenceEqual(expected));
            count++;
        });
        Assert.Equal(15, count);
    }

    [Fact]
    public void Thousands_of_mutated_files_are_refused_with_a_reason()
    {
        byte[] file = Snapshot(Layout(), 9);
        var random = new Random(7);
        var faults = new HashSet<KvSnapshotFault>();
        for (int i = 0; i < 6000; i++)
        {
            byte[] mutated = Mutate(file, random);
            if (!mutated.AsSpan().SequenceEqual(file))
            {
                faults.Add(Refused(mutated).Fault);
            }
        }
        Assert.Superset(
            new HashSet<KvSnapshotFault> { KvSnapshotFault.NotASnapshot, KvSnapshotFault.Truncated, KvSnapshotFault.Altered }, faults);
    }

    [Fact]
    public void Every_byte_counts()
    {
        byte[] file = Snapshot(Layout(), 5);
        for (int i = 0; i < file.Length; i++)
        {
            byte[] mutated = [.. file];
            mutated[i] ^= 0x40;
            Refused(mutated);
            Refused(file[..i]);
        }
    }

    [Fact]
    public void A_header_that_lies_under_a_right_checksum_is_never_more_than_refused()
    {
        byte[] file = Snapshot(Layout(), 9);
        int front = KvSnapshotHeader.FixedBytes + BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(12));
        var random = new Random(11);
        int[] figures = [0, 1, -1, 2, 8, 127, 255, 65535, 65536, int.MaxValue, int.MinValue, 1 << 28, 1 << 30];
        for (int i = 0; i < 6000; i++)
        {
            byte[] lying = [.. file];
            for (int edits = random.Next(1, 3); edits > 0; edits--)
            {
                BinaryPrimitives.WriteInt32LittleEndian(
                    lying.AsSpan(random.Next(8, front - 4)), figures[random.Next(figures.Length)]);
            }
            if (!lying.AsSpan().SequenceEqual(file))
            {
                Refused(Resealed(lying)); // its blocks are chained to the old header
            }
        }
    }

    [Fact]
    public void A_later_version_is_told_from_a_damaged_file()
    {
        byte[] file = Snapshot(Layout(), 3);
        file[8] = KvSnapshotHeader.Version + 1;
        Assert.Equal(KvSnapshotFault.Future, Refused(Resealed(file)).Fault);
        file[8] = KvSnapshotHeader.Version - 1;
        Assert.Contains("older version", Refused(Resealed(file)).Message, StringComparison.Ordinal);
        Assert.Equal(KvSnapshotFault.NotASnapshot, Refused([1, 2, 3]).Fault);
        Assert.Equal(KvSnapshotFault.NotASnapshot, Refused([]).Fault);
        Assert.Equal(KvSnapshotFault.Truncated, Refused(Snapshot(Layout(), 3)[..12]).Fault);
    }

    [Fact]
    public void A_snapshot_of_something_else_is_refused_by_what_differs()
    {
        byte[] file = Snapshot(Layout(), 3);
        Assert.Contains("model is model-1", Refused(file, identity: Identity with { Model = "model-2" }).Message);
        Assert.Contains("tokenizer", Refused(file, identity: Identity with { Tokenizer = "x" }).Message);
        Assert.Contains("sharing map", Refused(file, identity: Identity with { Sharing = "0_0" }).Message);
        Assert.Contains("numerics=consistent (this engine: numerics=fast)",
            Refused(file, identity: Identity with { Bits = "numerics=fast kernels=1" }).Message);
        Assert.Contains("element type is f16", Refused(file, Layout(type: DType.BF16)).Message);
        Assert.Contains("head dim is 4", Refused(file, Layout(headDim: 8)).Message);
        Assert.Contains("classes", Refused(file, Layout(map: "0_1")).Message);
        Assert.All(
            [Refused(file, Layout(type: DType.BF16)), Refused(file, Layout(map: "0_1"))],
            refusal => Assert.Equal(KvSnapshotFault.Foreign, refusal.Fault));
    }

    [Fact]
    public void Saving_replaces_a_file_whole_or_leaves_it()
    {
        string folder = Directory.CreateTempSubdirectory("kv-snapshot").FullName;
        try
        {
            KvLayout layout = Layout();
            var store = new Store(layout, 1 << 16);
            KvSequence sequence = store.Open();
            Assert.True(store.TryReserve(sequence, 4));
            store.Advance(sequence, [1, 2, 3, 4]);
            string path = Path.Combine(folder, "session.kv");
            File.WriteAllText(path, "old");

            Assert.Throws<IOException>(() => KvSnapshotWriter.Save(path, sequence, layout, Identity, new Broken()));
            Assert.Equal("old", File.ReadAllText(path));

            KvSnapshotWriter.Save(path, sequence, layout, Identity, new Memory(store.ArenaBytes));
            using (FileStream file = File.OpenRead(path))
            {
                Assert.Equal(4, new KvSnapshotReader(file, layout, Identity).Header.Tokens.Length);
            }
            Assert.Equal([path], Directory.GetFiles(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    sealed class Broken : IKvBytes
    {
        public void Read(long offset, Span<byte> destination) => throw new IOException("the device is gone");
        public void Write(long offset, ReadOnlySpan<byte> source) => throw new IOException("the device is gone");
        public void Play(PageCopies copies) => throw new IOException("the device is gone");
    }

    static byte[] Mutate(byte[] file, Random random)
    {
        List<byte> bytes = [.. file];
        int at = random.Next(file.Length), count = 1 + random.Next(Math.Min(64, file.Length - at));
        switch (random.Next(6))
        {
            case 0:
                bytes[at] ^= (byte)(1 << random.Next(8));
                break;
            case 1:
                return file[..at];
            case 2:
                bytes.RemoveRange(at, count);
                break;
            case 3:
                bytes.InsertRange(at, file[..count]);
                break;
            case 4:
                int other = random.Next(file.Length - count + 1);
                for (int i = 0; i < count; i++)
                {
                    (bytes[at + i], bytes[other + i]) = (bytes[other + i], bytes[at + i]);
                }
                break;
            default:
                bytes.AddRange(file[at..(at + count)]);
                break;
        }
        return [.. bytes];
    }
}
