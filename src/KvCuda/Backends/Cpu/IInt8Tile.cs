using System.Runtime.InteropServices;

namespace KvCuda.Backends.Cpu;

/// <summary>How some rows are multiplied with a block of int8 weights.</summary>
internal unsafe interface IInt8Tile
{
    /// <summary>Most rows of a tile.</summary>
    static abstract int MaxRows { get; }

    /// <summary>If rows are many: groups of which the rows' numbers, and what else the tile needs, stay in the L1 cache.</summary>
    static abstract int PieceGroups { get; }

    /// <summary>If rows are few: blocks of weights that a thread reads side by side.</summary>
    static abstract int Streams { get; }

    /// <summary>Groups that it takes of each in turn.</summary>
    static abstract int StreamGroups { get; }

    /// <summary>Rows that a tile needs room for when it has so many.</summary>
    static abstract int RoomOf(int rows);

    /// <summary>Bytes of a group of x in a tile with this room.</summary>
    static abstract int GroupBytes(int room);

    /// <summary>Puts a row of x, rounded (<see cref="Int8Activations"/>), in its place in a tile.</summary>
    /// <param name="x">the row</param>
    /// <param name="groups">of 32 inputs</param>
    /// <param name="row">its place</param>
    /// <param name="room">of the tile</param>
    /// <param name="numbers">the tile: <see cref="GroupBytes"/> for each group</param>
    /// <param name="scales">[group][room]</param>
    static abstract void Pack(float* x, int groups, int row, int room, byte* numbers, float* scales);

    /// <summary>Before a thread's first tile.</summary>
    static abstract void Begin(int room);

    /// <summary>After its last.</summary>
    static abstract void End();

    /// <summary>Adds the groups of a piece to the sums of so many rows.</summary>
    static abstract delegate*<in Int8Piece, void> Of(int rows);
}

/// <summary>The operands of a tile over some groups, each from its first group on. Layout known to <see cref="Amx.Int8TileCode"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Int8Piece
{
    public byte* X;         // as IInt8Tile.Pack wrote it
    public float* XScales;  // [group][room]
    public sbyte* W;        // [group][8][16][4]
    public ushort* WScales; // [group][16]
    public sbyte* Ahead;    // weights to be asked for meanwhile, as many
    public float* Sums;     // [row][16]
    public int* Integers;   // the tile's own
    public nint Groups;
    public int Room;
    public int Streams;     // 1: weights come from memory; 0: from a cache, and nothing need be asked for
}
