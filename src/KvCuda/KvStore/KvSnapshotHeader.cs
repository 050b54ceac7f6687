using System.Buffers.Binary;
using System.Text;
using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// Everything the bytes of keys and values depend on. Two equal identities mean: what one wrote, the other may read.
/// </summary>
/// <param name="Model">hash of the model's files</param>
/// <param name="Tokenizer">hash of the tokenizer's file</param>
/// <param name="Sharing">the sharing map, as text</param>
/// <param name="Bits">the bits key: names and values of everything that the stored bits depend on</param>
internal sealed record KvSnapshotIdentity(string Model, string Tokenizer, string Sharing, string Bits);

/// <summary>The tokens [Start, End) whose keys and values of one class are in the snapshot.</summary>
internal readonly record struct KvTokenRange(int Start, int End)
{
    public int Count => End - Start;
}

/// <summary>
/// The front of a snapshot: whose it is, which tokens, and which of their keys and values follow.
///
/// All numbers are little-endian, strings are UTF-8 behind their length. The bytes: magic (8), version (4), length of what
/// follows (4); identity (4 strings), element type (string); token count and tokens; number of
/// classes, and of each its window, kv heads, head dim, its owners behind their number, its ranges behind their number.
/// </summary>
internal sealed record KvSnapshotHeader(
    KvSnapshotIdentity Identity, DType Type, int[] Tokens, KvSnapshotClass[] Classes)
{
    public const int Version = 2;
    public const int FixedBytes = 16;
    const int LongestString = 4096;
    const int LargestHeader = 1 << 28;

    static ReadOnlySpan<byte> Magic => "KVCUDAS\n"u8;

    /// <summary>Bytes of keys and values of one token of a class.</summary>
    public long TokenBytes(KvSnapshotClass of) => 2L * of.KvHeads * of.HeadDim * Type.Bytes() * of.Owners.Length;

    public byte[] Encode()
    {
        var bytes = new MemoryStream();
        foreach (string text in (string[])[Identity.Model, Identity.Tokenizer, Identity.Sharing, Identity.Bits, Type.Name()])
        {
            byte[] utf8 = Encoding.UTF8.GetBytes(text);
            if (utf8.Length > LongestString)
            {
                throw new InvalidRequestException($"A snapshot's identity holds strings of at most {LongestString} bytes, not {utf8.Length}.");
            }
            Put(bytes, utf8.Length);
            bytes.Write(utf8);
        }
        Put(bytes, Tokens.Length);
        Put(bytes, Tokens);
        Put(bytes, Classes.Length);
        foreach (KvSnapshotClass c in Classes)
        {
            Put(bytes, c.Window, c.KvHeads, c.HeadDim, c.Owners.Length);
            Put(bytes, c.Owners);
            Put(bytes, c.Ranges.Length);
            foreach (KvTokenRange range in c.Ranges)
            {
                Put(bytes, range.Start, range.End);
            }
        }
        if (bytes.Length > LargestHeader)
        {
            throw new InvalidRequestException($"A snapshot of {Tokens.Length} tokens is too long.");
        }
        byte[] all = new byte[FixedBytes + bytes.Length];
        Magic.CopyTo(all);
        BinaryPrimitives.WriteInt32LittleEndian(all.AsSpan(8), Version);
        BinaryPrimitives.WriteInt32LittleEndian(all.AsSpan(12), (int)bytes.Length);
        bytes.GetBuffer().AsSpan(0, (int)bytes.Length).CopyTo(all.AsSpan(FixedBytes));
        return all;
    }

    /// <summary>The length of what follows the fixed part; refuses what is no snapshot or a later version's.</summary>
    public static int DecodeFixed(ReadOnlySpan<byte> start)
    {
        int common = Math.Min(start.Length, Magic.Length);
        if (start.IsEmpty || !start[..common].SequenceEqual(Magic[..common]))
        {
            throw new KvSnapshotException(KvSnapshotFault.NotASnapshot, "This is not a KvCuda snapshot: its first bytes are others.");
        }
        if (start.Length < FixedBytes)
        {
            throw Truncated();
        }
        int version = BinaryPrimitives.ReadInt32LittleEndian(start[8..]);
        if (version > Version)
        {
            throw new KvSnapshotException(
                KvSnapshotFault.Future, $"The snapshot is of version {version}; this KvCuda reads version {Version}. Use the newer KvCuda.");
        }
        if (version is > 0 and < Version)
        {
            throw new KvSnapshotException(KvSnapshotFault.Foreign,
                $"The snapshot is of the older version {version}; this KvCuda reads version {Version}. Save it again.");
        }
        int length = BinaryPrimitives.ReadInt32LittleEndian(start[12..]);
        if (version != Version || length is < 0 or > LargestHeader)
        {
            throw Altered($"version {version}, header of {length} bytes");
        }
        return length;
    }

    public static KvSnapshotHeader Decode(ReadOnlySpan<byte> bytes)
    {
        var reader = new Reader(bytes);
        var identity = new KvSnapshotIdentity(reader.Text(), reader.Text(), reader.Text(), reader.Text());
        DType type = reader.Text() switch
        {
            "f32" => DType.F32,
            "f16" => DType.F16,
            "bf16" => DType.BF16,
            var other => throw Altered($"element type '{other}'"),
        };
        int[] tokens = reader.Numbers(reader.Number(0, reader.Left / 4));
        if (tokens.Length > 0 && tokens.AsSpan().IndexOfAnyInRange(int.MinValue, -1) >= 0)
        {
            throw Altered("a negative token id");
        }
        var classes = new KvSnapshotClass[reader.Number(1, reader.Left / 20)];
        for (int i = 0; i < classes.Length; i++)
        {
            int window = reader.Number(0, int.MaxValue);
            int kvHeads = reader.Number(1, 1 << 16), headDim = reader.Number(1, 1 << 16);
            int[] owners = reader.Numbers(reader.Number(1, reader.Left / 4));
            var ranges = new KvTokenRange[reader.Number(0, reader.Left / 8)];
            for (int r = 0, from = 0; r < ranges.Length; r++)
            {
                int start = reader.Number(from, tokens.Length), end = reader.Number(start, tokens.Length);
                ranges[r] = new(start, from = end);
            }
            classes[i] = new(window, kvHeads, headDim, owners, ranges);
        }
        return reader.Left == 0
            ? new(identity, type, tokens, classes)
            : throw Altered($"{reader.Left} bytes too many in the header");
    }

    public static KvSnapshotException Truncated() => new(KvSnapshotFault.Truncated, "The snapshot ends early; it was not written to its end.");

    public static KvSnapshotException Altered(string what) => new(
        KvSnapshotFault.Altered, $"The snapshot is damaged: {what}. It was changed after it was written.");

    static void Put(MemoryStream to, params ReadOnlySpan<int> numbers)
    {
        Span<byte> four = stackalloc byte[4];
        foreach (int number in numbers)
        {
            BinaryPrimitives.WriteInt32LittleEndian(four, number);
            to.Write(four);
        }
    }

    // Every length is compared with the bytes that are left before anything of that length is made.
    ref struct Reader(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<byte> rest = bytes;

        public readonly int Left => rest.Length;

        public int Number(int least, int most)
        {
            if (rest.Length < 4)
            {
                throw Altered("its header ends early");
            }
            int number = BinaryPrimitives.ReadInt32LittleEndian(rest);
            rest = rest[4..];
            return number >= least && number <= most ? number : throw Altered($"{number} where {least} to {most} is possible");
        }

        public int[] Numbers(int count)
        {
            if (count > rest.Length / 4)
            {
                throw Altered("its header ends early");
            }
            int[] numbers = new int[count];
            for (int i = 0; i < count; i++)
            {
                numbers[i] = BinaryPrimitives.ReadInt32LittleEndian(rest[(4 * i)..]);
            }
            rest = rest[(4 * count)..];
            return numbers;
        }

        public string Text()
        {
            int length = Number(0, Math.Min(LongestString, Math.Max(0, rest.Length - 4)));
            string text = Encoding.UTF8.GetString(rest[..length]);
            rest = rest[length..];
            return text;
        }
    }
}

/// <summary>What a snapshot holds of one class: the keys and values of these owners for the tokens of these ranges.</summary>
/// <param name="Window">the class's window; 0: every token</param>
/// <param name="KvHeads">key/value heads of an owner</param>
/// <param name="HeadDim">numbers per head</param>
/// <param name="Owners">layers, in the page's order</param>
/// <param name="Ranges">ascending, disjoint</param>
internal sealed record KvSnapshotClass(int Window, int KvHeads, int HeadDim, int[] Owners, KvTokenRange[] Ranges);
