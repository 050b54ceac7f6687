using System.Runtime.InteropServices;

namespace KvCuda.Backends.Cpu.Amx;

/// <summary>The operand of LDTILECFG: rows, and bytes of a row, of each tile.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal unsafe struct TileShapes
{
    [FieldOffset(0)]
    public byte Palette; // 1: eight tiles of up to 1 KB

    [FieldOffset(16)]
    public fixed ushort RowBytes[16];

    [FieldOffset(48)]
    public fixed byte Rows[16];

    public void Set(int tile, int rows, int rowBytes)
    {
        Palette = 1;
        Rows[tile] = (byte)rows;
        RowBytes[tile] = (ushort)rowBytes;
    }
}

/// <summary>
/// What the kernels below are given: two tiles of weights (A), one or two of activations (B), step after step.
/// Addresses and strides in bytes. Layout known to <see cref="TileCode"/>.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TileCall
{
    public byte* A0, A1;        // 16 rows each
    public nint AStride, AStep; // from row to row, from step to step
    public byte* B;             // the second tile follows 1 KB behind
    public nint BStride, BStep;
    public float* C;            // one KB a tile: A0 B0, A0 B1, A1 B0, A1 B1; rows are BStride apart
    public nint CarryOn;        // not 0: C is added to, else set
    public nint Steps;          // at least 1
    public byte* Ahead;         // fetched meanwhile: a line of 32 rows, AStride apart, each step 64 bytes on
    public nint MoreSteps;      // then so many steps more (0: none; 0 afterwards) ...
    public byte* MoreAhead;     // ... fetching from here on
}

/// <summary>The machine code of tile kernels, made once in a process.</summary>
internal sealed unsafe class TileCode
{
    readonly delegate* unmanaged[SuppressGCTransition]<TileShapes*, void> shapes;
    readonly delegate* unmanaged[SuppressGCTransition]<void> release;
    readonly delegate* unmanaged[SuppressGCTransition]<TileCall*, void> one, two, streamOne, streamTwo;

    TileCode(nint at, IReadOnlyList<int> entries)
    {
        shapes = (delegate* unmanaged[SuppressGCTransition]<TileShapes*, void>)(at + entries[0]);
        release = (delegate* unmanaged[SuppressGCTransition]<void>)(at + entries[1]);
        one = (delegate* unmanaged[SuppressGCTransition]<TileCall*, void>)(at + entries[2]);
        two = (delegate* unmanaged[SuppressGCTransition]<TileCall*, void>)(at + entries[3]);
        streamOne = (delegate* unmanaged[SuppressGCTransition]<TileCall*, void>)(at + entries[4]);
        streamTwo = (delegate* unmanaged[SuppressGCTransition]<TileCall*, void>)(at + entries[5]);
    }

    /// <summary>Null if the system allows no executable memory.</summary>
    public static TileCode? Make()
    {
        Assembler code = new();
        List<int> entries = [];
        Entry().LoadShapes(Register.Rdi);
        code.Return();
        Entry().Release();
        code.Return();
        foreach (bool streams in new[] { false, true })
        {
            foreach (int tiles in new[] { 1, 2 })
            {
                Products(Entry(), tiles, streams);
            }
        }
        nint at = ExecutableMemory.Place(code.Code);
        return at == 0 ? null : new(at, entries);

        Assembler Entry()
        {
            entries.Add(code.Here);
            return code;
        }
    }

    /// <summary>Gives this thread's tiles their shapes.</summary>
    public void Shape(ref TileShapes tileShapes)
    {
        fixed (TileShapes* at = &tileShapes)
        {
            shapes(at);
        }
    }

    /// <summary>This thread needs no tiles any more.</summary>
    public void Release() => release();

    /// <summary>Tiles 0-3 are C, 4-5 A, 6-7 B: C (+)= A B over all steps, bf16 into f32, each step one product per tile of C.</summary>
    /// <param name="call">the operands</param>
    /// <param name="tiles">tiles of B: 1 or 2</param>
    public void Multiply(ref TileCall call, int tiles)
    {
        fixed (TileCall* at = &call)
        {
            (tiles == 1 ? one : two)(at);
        }
    }

    /// <summary>The same with A read in place from memory that no cache has yet: <see cref="TileCall.Ahead"/> is fetched meanwhile.</summary>
    public void MultiplyStreaming(ref TileCall call, int tiles)
    {
        fixed (TileCall* at = &call)
        {
            (tiles == 1 ? streamOne : streamTwo)(at);
        }
    }

    static void Products(Assembler code, int tiles, bool streams)
    {
        const Register call = Register.Rdi, a0 = Register.Rax, a1 = Register.Rcx, aStride = Register.Rdx, b = Register.Rsi, bStride = Register.R8,
            steps = Register.R9, ahead = Register.R10, line = Register.R11, c = Register.R11;
        code.Load(a0, call, Offset(nameof(TileCall.A0)));
        code.Load(a1, call, Offset(nameof(TileCall.A1)));
        code.Load(aStride, call, Offset(nameof(TileCall.AStride)));
        code.Load(b, call, Offset(nameof(TileCall.B)));
        code.Load(bStride, call, Offset(nameof(TileCall.BStride)));
        code.Load(steps, call, Offset(nameof(TileCall.Steps)));
        code.Load(ahead, call, Offset(nameof(TileCall.Ahead)));

        code.Load(c, call, Offset(nameof(TileCall.CarryOn)));
        code.Test(c);
        int set = code.JumpIfZero();
        code.Load(c, call, Offset(nameof(TileCall.C)));
        EachOfC(tile => code.Load(tile, c, bStride, tile * 1024));
        int start = code.Jump();
        code.Land(set);
        EachOfC(code.Zero);
        code.Land(start);

        int step = code.Here;
        code.Load(4, a0, aStride);
        code.Load(6, b, bStride);
        code.ProductBF16(0, 4, 6);
        if (tiles == 2)
        {
            code.Load(7, b, bStride, 1024);
            code.ProductBF16(1, 4, 7);
        }
        code.Load(5, a1, aStride);
        code.ProductBF16(2, 5, 6);
        if (tiles == 2)
        {
            code.ProductBF16(3, 5, 7);
        }
        code.Add(a0, call, Offset(nameof(TileCall.AStep)));
        code.Add(a1, call, Offset(nameof(TileCall.AStep)));
        code.Add(b, call, Offset(nameof(TileCall.BStep)));
        if (streams)
        {
            code.Move(line, ahead);
            for (int row = 0; row < 32; row += 2)
            {
                code.Prefetch(line);
                code.Prefetch(line, aStride);
                code.AddressOfSecond(line, line, aStride);
            }
            code.Add(ahead, 64);
        }
        code.Add(steps, -1);
        code.JumpIfNotZero(step);
        if (streams)
        {
            code.Load(steps, call, Offset(nameof(TileCall.MoreSteps)));
            code.Load(ahead, call, Offset(nameof(TileCall.MoreAhead)));
            code.Clear(call, Offset(nameof(TileCall.MoreSteps)));
            code.Test(steps);
            code.JumpIfNotZero(step);
        }
        code.Load(c, call, Offset(nameof(TileCall.C)));
        EachOfC(tile => code.Store(tile, c, bStride, tile * 1024));
        code.Return();

        void EachOfC(Action<int> each)
        {
            each(0);
            each(2);
            if (tiles == 2)
            {
                each(1);
                each(3);
            }
        }
    }

    static int Offset(string field) => (int)Marshal.OffsetOf<TileCall>(field);
}
