using System.Security.Cryptography;
using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// Writes the tokens of a sequence and their keys and values in an order that depends on neither page size nor device:
/// header, its SHA-256, then class by class and token by token [owner][K|V][kv head][head dim], in blocks of about 1 MiB.
/// Behind each block stands the SHA-256 of (the digest before it, the block), so that no block can be changed, moved or left out.
/// </summary>
internal static class KvSnapshotWriter
{
    public const int DigestBytes = SHA256.HashSizeInBytes;

    /// <summary>Tokens of one block of a class; the last of a class may be shorter.</summary>
    public static int TokensPerBlock(long tokenBytes) => (int)Math.Max(1, (1 << 20) / tokenBytes);

    /// <summary>
    /// Writes beside <paramref name="path"/> and puts the file in its place when it is whole: a reader finds the old file or
    /// the new one. Only the owner may read it, for it tells what was said.
    /// </summary>
    public static void Save(string path, KvSequence sequence, KvLayout layout, KvSnapshotIdentity identity, IKvBytes arena)
    {
        string full = Path.GetFullPath(path);
        string beside = Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{Guid.NewGuid():N}");
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            }
            using (var file = new FileStream(beside, options))
            {
                Write(file, sequence, layout, identity, arena);
                file.Flush(flushToDisk: true);
            }
            File.Move(beside, full, overwrite: true);
        }
        catch
        {
            File.Delete(beside);
            throw;
        }
    }

    public static void Write(Stream to, KvSequence sequence, KvLayout layout, KvSnapshotIdentity identity, IKvBytes arena)
    {
        int[][] tables = new int[layout.Classes.Count][];
        var classes = new KvSnapshotClass[tables.Length];
        for (int c = 0; c < tables.Length; c++)
        {
            sequence.WriteTable(c, tables[c] = new int[sequence.PageCount]);
            classes[c] = new(layout.Classes[c].Window, layout.Classes[c].Shape.KvHeads, layout.Classes[c].Shape.HeadDim,
                [.. layout.Classes[c].Owners], Ranges(tables[c], sequence.Length, layout.PageTokens));
        }
        var header = new KvSnapshotHeader(
            identity, layout.Type, sequence.Tokens.ToArray(), classes);
        byte[] front = header.Encode();
        byte[] digest = SHA256.HashData(front);
        to.Write(front);
        to.Write(digest);
        for (int c = 0; c < tables.Length; c++)
        {
            WriteClass(to, layout, c, classes[c], tables[c], arena, ref digest);
        }
    }

    static void WriteClass(
        Stream to, KvLayout layout, int pageClass, KvSnapshotClass of, int[] table, IKvBytes arena, ref byte[] digest)
    {
        var codec = new KvTokenBytes(layout, pageClass);
        int perBlock = TokensPerBlock(codec.Bytes), inBlock = 0, pageAt = -1;
        byte[] page = new byte[layout.Classes[pageClass].PageBytes];
        byte[] block = new byte[DigestBytes + (long)perBlock * codec.Bytes];
        int left = of.Ranges.Sum(range => range.Count);
        foreach (KvTokenRange range in of.Ranges)
        {
            for (int token = range.Start; token < range.End; token++)
            {
                if (token / layout.PageTokens != pageAt)
                {
                    pageAt = token / layout.PageTokens;
                    arena.Read((long)table[pageAt] * KvPageShape.GranuleBytes, page);
                }
                codec.Gather(block.AsSpan(DigestBytes + inBlock * codec.Bytes, codec.Bytes), page, token % layout.PageTokens);
                left--;
                if (++inBlock == perBlock || left == 0)
                {
                    int bytes = inBlock * codec.Bytes;
                    digest.CopyTo(block, 0);
                    digest = SHA256.HashData(block.AsSpan(0, DigestBytes + bytes));
                    to.Write(block, DigestBytes, bytes);
                    to.Write(digest);
                    inBlock = 0;
                }
            }
        }
    }

    // The tokens whose pages are there.
    static KvTokenRange[] Ranges(int[] table, int length, int pageTokens)
    {
        var ranges = new List<KvTokenRange>();
        for (int j = 0; j * pageTokens < length; j++)
        {
            int start = j * pageTokens, end = Math.Min(length, start + pageTokens);
            if (table[j] < 0)
            {
                continue;
            }
            if (ranges.Count > 0 && ranges[^1].End == start)
            {
                ranges[^1] = ranges[^1] with { End = end };
            }
            else
            {
                ranges.Add(new(start, end));
            }
        }
        return [.. ranges];
    }
}
