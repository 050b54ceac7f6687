using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu.Amx;

/// <summary>
/// The machine code of <see cref="Int8TileRows"/>: for each group of 32 inputs, C = A B in integers, then sums += scales * C, with
///
///     A   [high of row 0 .. n-1, low of row 0 .. n-1][32]: activations, one tile or two
///     B   [8 quads][16 outputs][4]: a group of weights, where it lies (<see cref="Int8Layout"/>)
///     C   [high of row 0 .. n-1, low of row 0 .. n-1][16]
///
/// Tiles and vectors do not share registers, so C goes through the L1 cache. Three groups are under way: while tiles multiply group i, the
/// product of i - 1 is stored, and the sums of i - 2 are added up; none waits for another.
/// </summary>
internal sealed unsafe class Int8TileCode
{
    /// <summary>A tile of A with all its sixteen lines; C takes twice that.</summary>
    public const int TileBytes = 16 * Int8Layout.Group, SumsBytes = 2 * TileBytes;

    /// <summary>What <see cref="Int8Piece.Integers"/> has room for: two groups of two tiles.</summary>
    public const int IntegersBytes = 4 * SumsBytes;

    /// <summary>Rows of a call from which on tiles are worth while; fewer are as fast in vectors, and have no code here.</summary>
    public const int FewestRows = 4;

    const int MaxRows = 8;

    static readonly Lazy<Int8TileCode?> code = new(Make);

    readonly nint at;
    readonly int[] entries;

    Int8TileCode(nint at, int[] entries) => (this.at, this.entries) = (at, entries);

    /// <summary>The code; null if the system allows no executable memory.</summary>
    public static Int8TileCode? Instance => code.Value;

    /// <summary>The code for so many tiles of so many rows.</summary>
    /// <param name="tiles">of A: 1 or 2</param>
    /// <param name="rows">of each: 4 to 8</param>
    /// <param name="streams">whether weights are asked for meanwhile</param>
    public delegate* unmanaged[SuppressGCTransition]<Int8Piece*, void> Multiply(int tiles, int rows, bool streams) =>
        (delegate* unmanaged[SuppressGCTransition]<Int8Piece*, void>)(at + entries[Index(tiles, rows, streams)]);

    /// <summary>Tiles 0-3 are C, 4-5 A, 6-7 B.</summary>
    public static TileShapes Shapes(int rows)
    {
        TileShapes shapes = default;
        for (int tile = 0; tile < 8; tile++)
        {
            shapes.Set(tile, tile < 6 ? 2 * rows : Int8Layout.Group / Int8Layout.Quad, tile is 4 or 5 ? Int8Layout.Group : 64);
        }
        return shapes;
    }

    static int Index(int tiles, int rows, bool streams) => ((streams ? 2 : 0) + tiles - 1) * MaxRows + rows - 1;

    static Int8TileCode? Make()
    {
        Assembler assembler = new();
        int[] entries = new int[4 * MaxRows];
        foreach (bool streams in new[] { false, true })
        {
            for (int tiles = 1; tiles <= 2; tiles++)
            {
                for (int rows = FewestRows; rows <= MaxRows; rows++)
                {
                    entries[Index(tiles, rows, streams)] = assembler.Here;
                    new Kernel(assembler, tiles, rows, streams).Write();
                }
            }
        }
        nint place = ExecutableMemory.Place(assembler.Code);
        return place == 0 ? null : new(place, entries);
    }

    readonly struct Kernel(Assembler code, int tiles, int rows, bool streams)
    {
        const Register A = Register.Rax, B = Register.Rsi, Ahead = Register.R10, Integers = Register.Rdx, XScales = Register.Rcx,
            WScales = Register.R8, Groups = Register.R9, Line = Register.R11;

        // Vector registers 0-15 are the rows' sums.
        const int Scales = 16, FirstFree = 17;

        public void Write()
        {
            code.Load(A, Register.Rdi, Offset(nameof(Int8Piece.X)));
            code.Load(B, Register.Rdi, Offset(nameof(Int8Piece.W)));
            code.Load(Ahead, Register.Rdi, Offset(nameof(Int8Piece.Ahead)));
            code.Load(Integers, Register.Rdi, Offset(nameof(Int8Piece.Integers)));
            code.Load(XScales, Register.Rdi, Offset(nameof(Int8Piece.XScales)));
            code.Load(WScales, Register.Rdi, Offset(nameof(Int8Piece.WScales)));
            code.Load(Groups, Register.Rdi, Offset(nameof(Int8Piece.Groups)));
            code.Set(Line, Int8Layout.Group);
            Register sums = Groups;
            code.Load(sums, Register.Rdi, Offset(nameof(Int8Piece.Sums)));
            for (int row = 0; row < tiles * rows; row++)
            {
                code.LoadVector(row, sums, row * 64);
            }
            code.Load(Groups, Register.Rdi, Offset(nameof(Int8Piece.Groups)));

            // Groups counts those whose sums are still to be added: two more than those not yet multiplied.
            Multiply(0);
            code.Compare(Groups, 1);
            int alone = code.JumpIfNotAbove();
            Multiply(1);
            code.Land(alone);
            Store(0);
            int loop = code.Here;
            int even = Group(0), odd = Group(1);
            int again = code.Jump();
            code.JumpsTo(again, loop);

            code.Land(even);
            code.Land(odd);
            code.Load(sums, Register.Rdi, Offset(nameof(Int8Piece.Sums)));
            for (int row = 0; row < tiles * rows; row++)
            {
                code.StoreVector(row, sums, row * 64);
            }
            code.ZeroUpper();
            code.Return();
        }

        // Group i is even or odd. Returns the jump that is taken when all is done.
        int Group(int parity)
        {
            code.Compare(Groups, 2);
            int none = code.JumpIfNotAbove();
            Multiply(parity);
            code.Land(none);
            Store(1 - parity);
            AddUp(parity);
            code.Add(Groups, -1);
            return code.JumpIfZero();
        }

        void Multiply(int parity)
        {
            for (int line = 0; streams && line < Int8Layout.GroupBytes; line += 64)
            {
                code.Prefetch(Ahead, line);
            }
            code.Load(6 + parity, B, Line, twice: true);
            for (int tile = 0; tile < tiles; tile++)
            {
                int a = 4 + (tiles == 2 ? tile : parity), c = 2 * parity + tile;
                code.Load(a, A, Line, tile * TileBytes);
                code.Zero(c);
                code.ProductInt8(c, a, 6 + parity);
            }
            code.Add(A, tiles * TileBytes);
            code.Add(B, Int8Layout.GroupBytes);
            code.Add(Ahead, Int8Layout.GroupBytes);
        }

        void Store(int parity)
        {
            for (int tile = 0; tile < tiles; tile++)
            {
                code.Store(2 * parity + tile, Integers, Line, (2 * parity + tile) * SumsBytes, twice: true);
            }
        }

        // sum[row] = fma((float)(256 high + low), scale of the outputs * scale of the row, sum[row])
        void AddUp(int parity)
        {
            code.LoadWidened(Scales, WScales, 0);
            code.ShiftLeft(Scales, Scales, 16);
            for (int row = 0; row < tiles * rows; row++)
            {
                int at = (2 * parity + row / rows) * SumsBytes + row % rows * 64;
                int dot = FirstFree + 2 * (row % 7), scale = dot + 1;
                code.ShiftLeft(dot, Integers, at, 8);
                code.AddIntegers(dot, dot, Integers, at + rows * 64);
                code.ToSingle(dot, dot);
                code.MultiplyByOne(scale, Scales, XScales, row * sizeof(float));
                code.MultiplyAdd(row, dot, scale);
            }
            code.Add(XScales, tiles * rows * sizeof(float));
            code.Add(WScales, Int8Layout.GroupScaleBytes);
        }

        static int Offset(string field) => (int)Marshal.OffsetOf<Int8Piece>(field);
    }
}
