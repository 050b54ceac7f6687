using System.Security.Cryptography;
using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// A snapshot that was read from its first byte to its last and found whole, before anybody sees a byte of it.
/// Blocks are read a second time when they are used, and compared with the digests of the first reading.
/// </summary>
internal sealed class KvSnapshotReader
{
    readonly Stream from;
    readonly List<(long Offset, int Bytes, byte[] Digest)> blocks = [];   // in file order
    readonly byte[] frontDigest;

    /// <param name="from">can seek; must stay as it is while it is read</param>
    /// <param name="layout">of the store that would take it</param>
    /// <param name="identity">of the model that would use it</param>
    /// <exception cref="KvSnapshotException">The snapshot is damaged, or another model's, or a later version's.</exception>
    public KvSnapshotReader(Stream from, KvLayout layout, KvSnapshotIdentity identity)
    {
        this.from = from;
        from.Position = 0;
        byte[] start = new byte[KvSnapshotHeader.FixedBytes];
        int length = KvSnapshotHeader.DecodeFixed(start.AsSpan(0, from.ReadAtLeast(start, start.Length, throwOnEndOfStream: false)));
        if (from.Length - start.Length - KvSnapshotWriter.DigestBytes < length)
        {
            throw KvSnapshotHeader.Truncated();
        }
        byte[] front = new byte[start.Length + length];
        start.CopyTo(front, 0);
        from.ReadExactly(front, start.Length, length);
        byte[] digest = new byte[KvSnapshotWriter.DigestBytes];
        from.ReadExactly(digest);
        frontDigest = SHA256.HashData(front);
        if (!digest.AsSpan().SequenceEqual(frontDigest))
        {
            throw KvSnapshotHeader.Altered("its header does not match its checksum");
        }
        Header = KvSnapshotHeader.Decode(front.AsSpan(start.Length));
        ExpectSame(Header, layout, identity);
        Plan();
        for (int i = 0; i < blocks.Count; i++)
        {
            byte[] stored = Read(i, new byte[KvSnapshotWriter.DigestBytes + blocks[i].Bytes], out byte[] computed);
            if (!stored.AsSpan().SequenceEqual(computed))
            {
                throw KvSnapshotHeader.Altered($"block {i} of {blocks.Count} does not match its checksum");
            }
            blocks[i] = blocks[i] with { Digest = computed };
        }
    }

    public KvSnapshotHeader Header { get; }

    /// <summary>
    /// The tokens of a class with their keys and values, ascending: <paramref name="take"/> gets the token's position and
    /// its bytes as [owner][K|V][kv head][head dim], valid during the call.
    /// </summary>
    public void ReadClass(int pageClass, Action<int, ReadOnlySpan<byte>> take)
    {
        int block = 0;
        for (int c = 0; c < pageClass; c++)
        {
            block += BlocksOf(Header.Classes[c]);
        }
        KvSnapshotClass of = Header.Classes[pageClass];
        int tokenBytes = (int)Header.TokenBytes(of), at = 0, left = 0;
        byte[] buffer = new byte[KvSnapshotWriter.DigestBytes + (long)KvSnapshotWriter.TokensPerBlock(tokenBytes) * tokenBytes];
        foreach (KvTokenRange range in of.Ranges)
        {
            for (int token = range.Start; token < range.End; token++)
            {
                if (left == 0)
                {
                    Read(block, buffer, out byte[] computed);
                    if (!computed.AsSpan().SequenceEqual(blocks[block].Digest))
                    {
                        throw KvSnapshotHeader.Altered($"block {block} changed while the snapshot was read");
                    }
                    left = blocks[block++].Bytes / tokenBytes;
                    at = KvSnapshotWriter.DigestBytes;
                }
                take(token, buffer.AsSpan(at, tokenBytes));
                at += tokenBytes;
                left--;
            }
        }
    }

    // Where the blocks lie; the file must end where the last one does.
    void Plan()
    {
        long at = from.Position;
        foreach (KvSnapshotClass of in Header.Classes)
        {
            long tokenBytes = Header.TokenBytes(of), tokens = of.Ranges.Sum(range => (long)range.Count);
            if (tokenBytes > 1 << 30)
            {
                throw KvSnapshotHeader.Altered($"{tokenBytes} bytes per token");
            }
            if (tokens * tokenBytes > from.Length)
            {
                throw KvSnapshotHeader.Truncated();
            }
            int perBlock = KvSnapshotWriter.TokensPerBlock(tokenBytes);
            for (long token = 0; token < tokens; token += perBlock)
            {
                int bytes = (int)(Math.Min(perBlock, tokens - token) * tokenBytes);
                blocks.Add((at, bytes, frontDigest));
                at += bytes + KvSnapshotWriter.DigestBytes;
            }
        }
        if (at > from.Length)
        {
            throw KvSnapshotHeader.Truncated();
        }
        if (at < from.Length)
        {
            throw KvSnapshotHeader.Altered($"{from.Length - at} bytes too many at its end");
        }
    }

    int BlocksOf(KvSnapshotClass of)
    {
        int perBlock = KvSnapshotWriter.TokensPerBlock(Header.TokenBytes(of));
        return (of.Ranges.Sum(range => range.Count) + perBlock - 1) / perBlock;
    }

    // The block behind the digest before it, in `buffer`; the digest that was stored, and the one its bytes have.
    byte[] Read(int block, byte[] buffer, out byte[] computed)
    {
        (long offset, int bytes, _) = blocks[block];
        (block == 0 ? frontDigest : blocks[block - 1].Digest).CopyTo(buffer, 0);
        byte[] stored = new byte[KvSnapshotWriter.DigestBytes];
        from.Position = offset;
        if (from.ReadAtLeast(buffer.AsSpan(stored.Length, bytes), bytes, throwOnEndOfStream: false) < bytes
            || from.ReadAtLeast(stored, stored.Length, throwOnEndOfStream: false) < stored.Length)
        {
            throw KvSnapshotHeader.Truncated();
        }
        computed = SHA256.HashData(buffer.AsSpan(0, stored.Length + bytes));
        return stored;
    }

    static void ExpectSame(KvSnapshotHeader header, KvLayout layout, KvSnapshotIdentity identity)
    {
        Same("model", header.Identity.Model, identity.Model);
        Same("tokenizer", header.Identity.Tokenizer, identity.Tokenizer);
        Same("sharing map", header.Identity.Sharing, identity.Sharing);
        Same("element type", header.Type.Name(), layout.Type.Name());
        if (header.Identity.Bits != identity.Bits)
        {
            throw new KvSnapshotException(KvSnapshotFault.Foreign, "The snapshot's keys and values have other bits than this "
                + $"engine computes: {Differences(header.Identity.Bits, identity.Bits)}. Load the model as it was loaded when "
                + "the snapshot was saved, or compute the tokens again.");
        }
        Same("number of page classes", header.Classes.Length, layout.Classes.Count);
        for (int c = 0; c < header.Classes.Length; c++)
        {
            Same("window", header.Classes[c].Window, layout.Classes[c].Window);
            Same("number of kv heads", header.Classes[c].KvHeads, layout.Classes[c].Shape.KvHeads);
            Same("head dim", header.Classes[c].HeadDim, layout.Classes[c].Shape.HeadDim);
            Same("owners", string.Join(' ', header.Classes[c].Owners), string.Join(' ', layout.Classes[c].Owners));
        }
    }

    // Both are "name=value name=value ..".
    static string Differences(string found, string expected)
    {
        string[] a = found.Split(' '), b = expected.Split(' ');
        return a.Length != b.Length
            ? $"{found} (this engine: {expected})"
            : string.Join(", ", a.Zip(b).Where(pair => pair.First != pair.Second)
                .Select(pair => $"{pair.First} (this engine: {pair.Second})"));
    }

    static void Same<T>(string what, T found, T expected)
    {
        if (!EqualityComparer<T>.Default.Equals(found, expected))
        {
            throw new KvSnapshotException(
                KvSnapshotFault.Foreign, $"The snapshot's {what} is {found}, this model's is {expected}: it belongs to another one.");
        }
    }
}
