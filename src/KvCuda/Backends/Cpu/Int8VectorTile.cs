using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Tiles of <see cref="Int8Kernel{TTile}"/> in vector registers: up to eight rows (four without AVX-512), x as [group][row][32] numbers of 16
/// bits. Bytes are widened once for all rows, products of pairs added up in registers over a group.
/// </summary>
internal readonly unsafe struct Int8VectorTile<TSums, TRegister> : IInt8Tile
    where TSums : struct, IInt8Sums<TSums, TRegister> where TRegister : struct, IRegister<TRegister>
{
    public static int MaxRows => TSums.MaxRows;

    // 8 rows x 32 groups x 64 bytes = 16 KB of x, and as much of weights, which pass by.
    public static int PieceGroups => 32;

    // Read alone, four streams of 2 KB in turn gave 28 GB/s on two threads, and one stream 22.
    public static int Streams => 4;

    public static int StreamGroups => 4;

    public static int RoomOf(int rows) => rows;

    public static int GroupBytes(int room) => room * Int8Layout.Group * sizeof(short);

    public static void Pack(float* x, int groups, int row, int room, byte* numbers, float* scales) =>
        Int8Activations.Row(x, groups, (short*)numbers + row * Int8Layout.Group, scales + row, room);

    public static void Begin(int room) { }

    public static void End() { }

    public static delegate*<in Int8Piece, void> Of(int rows) => rows switch
    {
        1 => &Tile<One>,
        2 => &Tile<Two>,
        3 => &Tile<Three>,
        4 => &Tile<Four>,
        5 => &Tile<Five>,
        6 => &Tile<Six>,
        7 => &Tile<Seven>,
        _ => &Tile<Eight>,
    };

    // sums[row][output] carries on over the groups of a piece.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Tile<TRows>(in Int8Piece piece) where TRows : struct, ICount
    {
        short* x = (short*)piece.X;
        nint ahead = (nint)(piece.Ahead - piece.W);
        float* xScales = piece.XScales;
        ushort* wScales = piece.WScales;
        for (sbyte* w = piece.W, end = w + (long)piece.Groups * Int8Layout.GroupBytes; w < end; w += Int8Layout.GroupBytes)
        {
            for (int output = 0; output < Int8Layout.Block; output += TRegister.Width)
            {
                TSums s0 = default, s1 = default, s2 = default, s3 = default, s4 = default, s5 = default, s6 = default, s7 = default;
                sbyte* quads = w + output * Int8Layout.Quad;
                short* quad = x;
                for (short* groupEnd = x + Int8Layout.Group; quad < groupEnd; quad += Int8Layout.Quad, quads += Int8Layout.Quad * Int8Layout.Block)
                {
                    if (Sse.IsSupported)
                    {
                        Sse.Prefetch0(quads + ahead);
                    }
                    TSums weights = TSums.Load(quads);
                    s0 = TSums.MultiplyAdd(s0, weights, quad + 0 * Int8Layout.Group);
                    if (TRows.Value > 1)
                    {
                        s1 = TSums.MultiplyAdd(s1, weights, quad + 1 * Int8Layout.Group);
                    }
                    if (TRows.Value > 2)
                    {
                        s2 = TSums.MultiplyAdd(s2, weights, quad + 2 * Int8Layout.Group);
                    }
                    if (TRows.Value > 3)
                    {
                        s3 = TSums.MultiplyAdd(s3, weights, quad + 3 * Int8Layout.Group);
                    }
                    if (TRows.Value > 4)
                    {
                        s4 = TSums.MultiplyAdd(s4, weights, quad + 4 * Int8Layout.Group);
                    }
                    if (TRows.Value > 5)
                    {
                        s5 = TSums.MultiplyAdd(s5, weights, quad + 5 * Int8Layout.Group);
                    }
                    if (TRows.Value > 6)
                    {
                        s6 = TSums.MultiplyAdd(s6, weights, quad + 6 * Int8Layout.Group);
                    }
                    if (TRows.Value > 7)
                    {
                        s7 = TSums.MultiplyAdd(s7, weights, quad + 7 * Int8Layout.Group);
                    }
                }
                TRegister scales = TSums.Scales(wScales + output);
                float* sums = piece.Sums + output;
                Add(sums + 0 * Int8Layout.Block, s0, scales, xScales[0]);
                if (TRows.Value > 1)
                {
                    Add(sums + 1 * Int8Layout.Block, s1, scales, xScales[1]);
                }
                if (TRows.Value > 2)
                {
                    Add(sums + 2 * Int8Layout.Block, s2, scales, xScales[2]);
                }
                if (TRows.Value > 3)
                {
                    Add(sums + 3 * Int8Layout.Block, s3, scales, xScales[3]);
                }
                if (TRows.Value > 4)
                {
                    Add(sums + 4 * Int8Layout.Block, s4, scales, xScales[4]);
                }
                if (TRows.Value > 5)
                {
                    Add(sums + 5 * Int8Layout.Block, s5, scales, xScales[5]);
                }
                if (TRows.Value > 6)
                {
                    Add(sums + 6 * Int8Layout.Block, s6, scales, xScales[6]);
                }
                if (TRows.Value > 7)
                {
                    Add(sums + 7 * Int8Layout.Block, s7, scales, xScales[7]);
                }
            }
            x += piece.Room * Int8Layout.Group;
            xScales += piece.Room;
            wScales += Int8Layout.Block;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Add(float* sums, TSums dots, TRegister wScales, float xScale) => TRegister.Store(
        TRegister.Fma(TSums.ToSingle(dots), TRegister.Multiply(wScales, TRegister.All(xScale)), TRegister.Load(sums)), sums);
}
