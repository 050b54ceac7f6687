using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu.Amx;

/// <summary>
/// Tiles of <see cref="Int8Kernel{TTile}"/> on AMX. A number of 16 bits is 256 * high + low, two signed bytes, each of which tiles multiply
/// exactly: dot = 256 (w · high) + (w · low). A tile of activations is a group of n rows, [high of row 0 .. n-1, low of row 0 .. n-1][32],
/// n = 4 to 8; of more than eight rows there are two such tiles side by side, which share what is loaded of the weights.
/// </summary>
internal readonly unsafe struct Int8TileRows : IInt8Tile
{
    public static int MaxRows => 16;

    // 16 KB of x, 4 KB of integers, 8 KB of weights that pass by.
    public static int PieceGroups => 16;

    // Products are as slow to begin as eight groups take: one long stream.
    public static int Streams => 1;

    public static int StreamGroups => int.MaxValue;

    public static int RoomOf(int rows) => rows <= 8 ? rows : (rows + 1) / 2 * 2;

    public static int GroupBytes(int room) => TilesOf(room) * Int8TileCode.TileBytes;

    static int TilesOf(int room) => room <= 8 ? 1 : 2;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Pack(float* x, int groups, int row, int room, byte* numbers, float* scales)
    {
        int rows = room / TilesOf(room), step = GroupBytes(room);
        byte* high = numbers + row / rows * Int8TileCode.TileBytes + row % rows * Int8Layout.Group, low = high + rows * Int8Layout.Group;
        scales += row;
        for (int group = 0; group < groups; group++, x += Int8Layout.Group, high += step, low += step, scales += room)
        {
            Vector512<short> both = Int8Activations.Round(x, out *scales);
            Avx512BW.ConvertToVector256SByte(Vector512.ShiftRightArithmetic(both + Vector512.Create((short)128), 8)).Store((sbyte*)high);
            Avx512BW.ConvertToVector256SByte(both).Store((sbyte*)low);
        }
    }

    public static void Begin(int room)
    {
        TileShapes shapes = Int8TileCode.Shapes(room / TilesOf(room));
        Tiles.Code.Shape(ref shapes);
    }

    public static void End() => Tiles.Code.Release();

    public static delegate*<in Int8Piece, void> Of(int rows) => &Multiply;

    [SkipLocalsInit]
    static void Multiply(in Int8Piece piece)
    {
        byte* integers = stackalloc byte[Int8TileCode.IntegersBytes + 64];
        Int8Piece call = piece;
        call.Integers = (int*)((nint)integers + 63 & ~63);
        int tiles = TilesOf(piece.Room);
        Int8TileCode.Instance!.Multiply(tiles, piece.Room / tiles, piece.Streams != 0)(&call);
    }
}
