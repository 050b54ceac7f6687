using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels;

/// <summary>Matrices on a <see cref="TestDevice"/>, at exactly their size, and back.</summary>
static class TestTensors
{
    /// <summary>The matrix as a tensor of the given type.</summary>
    public static Tensor Tensor(this TestDevice device, Matrix matrix, DType type = DType.F32) =>
        new("matrix", type, device.Upload<byte>(matrix.Bytes(type)).Address, matrix.Rows, matrix.Columns);

    /// <summary>(1, n) i32.</summary>
    public static Tensor Tensor(this TestDevice device, params int[] numbers) =>
        new("indices", DType.I32, device.Upload<int>(numbers).Address, 1, numbers.Length);

    /// <summary>An output of NaN, and how to read it.</summary>
    public static (Tensor Tensor, Func<float[]> Read) Result(this TestDevice device, int rows, int columns)
    {
        DeviceArray<float> array = device.Output<float>(rows * columns);
        return (new("result", DType.F32, array.Address, rows, columns), array.Read);
    }

    /// <summary>A matrix that a kernel changes in place, and how to read it.</summary>
    public static (Tensor Tensor, Func<float[]> Read) InPlace(this TestDevice device, Matrix matrix)
    {
        DeviceArray<float> array = device.Upload<float>([.. matrix.Numbers.Select(n => (float)n)]);
        return (new("in place", DType.F32, array.Address, matrix.Rows, matrix.Columns), array.Read);
    }

    /// <summary>Positions and sequences of a batch; the tokens are never read here.</summary>
    public static BatchRows Rows(this TestDevice device, int[] positions, int[] sequences)
    {
        Tensor p = device.Tensor(positions);
        return new(p, p, device.Tensor(sequences));
    }
}

/// <summary>
/// Keys and values of some sequences in pages, as hostile as a store may leave them: pages in random order, those that no
/// token was written to full of NaN, unused entries of the page table -1.
/// </summary>
sealed class TestKv
{
    readonly int[,] table;
    readonly byte[] arena;
    readonly int pageBytes;

    public TestKv(Random random, int[] lengths, int kvHeads, int headDim, DType type, int pageTokens, int columns = 0)
    {
        Lengths = lengths;
        KvHeads = kvHeads;
        HeadDim = headDim;
        Type = type;
        PageTokens = pageTokens;
        // A layer's part of a page starts at some offset, and something else follows it.
        LayerOffset = 256;
        int layerBytes = 2 * kvHeads * pageTokens * headDim * type.Bytes();
        pageBytes = (LayerOffset + layerBytes + 96 + 127) / 128 * 128;
        columns = Math.Max(columns, lengths.Max(length => (length + pageTokens - 1) / pageTokens) + 1);
        table = new int[lengths.Length, columns];
        int pages = lengths.Sum(length => (length + pageTokens - 1) / pageTokens) + 2;
        arena = new byte[pages * pageBytes];
        arena.AsSpan().Fill(0xFF);
        int[] order = [.. Enumerable.Range(0, pages).OrderBy(_ => random.Next())];
        int next = 0;
        for (int sequence = 0; sequence < lengths.Length; sequence++)
        {
            for (int column = 0; column < columns; column++)
            {
                table[sequence, column] = column * pageTokens < lengths[sequence] ? order[next++] * (pageBytes / 128) : -1;
            }
        }
        Keys = [.. lengths.Select(length => Matrix.Random(random, length, kvHeads * headDim, type))];
        Values = [.. lengths.Select(length => Matrix.Random(random, length, kvHeads * headDim, type))];
    }

    public int[] Lengths { get; }

    public int KvHeads { get; }

    public int HeadDim { get; }

    public int PageTokens { get; }

    public int LayerOffset { get; }

    public DType Type { get; }

    /// <summary>Of each sequence: (length, kvHeads * headDim), as stored.</summary>
    public Matrix[] Keys { get; }

    /// <summary>Of each sequence: (length, kvHeads * headDim), as stored.</summary>
    public Matrix[] Values { get; }

    /// <summary>Frees the pages of a sequence that hold nothing from a position on, as a moving window does.</summary>
    public void Free(int sequence, int firstToken, int pastToken)
    {
        for (int column = (firstToken + PageTokens - 1) / PageTokens; (column + 1) * PageTokens <= pastToken; column++)
        {
            table[sequence, column] = -1;
        }
    }

    /// <summary>Where a number of K lies in the arena; V lies <see cref="ValueBytes"/> further. -1 without a page.</summary>
    public long Place(int sequence, int token, int head, int i) => table[sequence, token / PageTokens] is var page && page < 0
        ? -1
        : page * 128L + LayerOffset + (((long)head * PageTokens + token % PageTokens) * HeadDim + i) * Type.Bytes();

    public long ValueBytes => (long)KvHeads * PageTokens * HeadDim * Type.Bytes();

    /// <summary>Writes what <see cref="Keys"/> and <see cref="Values"/> say, for the first so many tokens of each sequence.</summary>
    public byte[] Fill(params int[] lengths)
    {
        for (int sequence = 0; sequence < Lengths.Length; sequence++)
        {
            byte[] keys = Keys[sequence].Bytes(Type), values = Values[sequence].Bytes(Type);
            int width = KvHeads * HeadDim * Type.Bytes();
            for (int token = 0; token < (lengths.Length > 0 ? lengths[sequence] : Lengths[sequence]); token++)
            {
                for (int head = 0; head < KvHeads && Place(sequence, token, head, 0) is >= 0 and var place; head++)
                {
                    int from = token * width + head * HeadDim * Type.Bytes(), bytes = HeadDim * Type.Bytes();
                    keys.AsSpan(from, bytes).CopyTo(arena.AsSpan((int)place));
                    values.AsSpan(from, bytes).CopyTo(arena.AsSpan((int)(place + ValueBytes)));
                }
            }
        }
        return arena;
    }

    /// <summary>The view of it on a device, and the arena's bytes there.</summary>
    public (KvView View, DeviceArray<byte> Arena) On(TestDevice device)
    {
        DeviceArray<byte> bytes = device.Upload<byte>(arena);
        DeviceArray<int> pages = device.Upload<int>(MemoryMarshal.CreateReadOnlySpan(ref table[0, 0], table.Length));
        var pageTable = new Tensor("pages", DType.I32, pages.Address, table.GetLength(0), table.GetLength(1));
        return (new(bytes.Address, LayerOffset, new(PageTokens, KvHeads, HeadDim, 8 * Type.Bytes()), Type, pageTable), bytes);
    }

    /// <summary>The same on a backend whose memory the host may write.</summary>
    public KvView On(IBackend backend)
    {
        nint bytes = backend.AllocateBytes("arena", arena.Length);
        Marshal.Copy(arena, 0, bytes, arena.Length);
        Tensor pages = backend.Allocate("pages", DType.I32, table.GetLength(0), table.GetLength(1));
        MemoryMarshal.CreateReadOnlySpan(ref table[0, 0], table.Length).CopyTo(pages.Span<int>());
        return new(bytes, LayerOffset, new(PageTokens, KvHeads, HeadDim, 8 * Type.Bytes()), Type, pages);
    }

    /// <summary>One head's keys or values of a sequence: (length, headDim).</summary>
    public Matrix Head(Matrix all, int head)
    {
        var one = new Matrix(all.Rows, HeadDim);
        for (int token = 0; token < all.Rows; token++)
        {
            all.Row(token).Slice(head * HeadDim, HeadDim).CopyTo(one.Row(token));
        }
        return one;
    }
}
