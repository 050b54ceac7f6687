namespace KvCuda.Backends.Cpu.Amx;

/// <summary>General registers by their numbers in x86-64 encodings: those that a System V callee may overwrite.</summary>
internal enum Register
{
    Rax = 0, Rcx = 1, Rdx = 2, Rsi = 6, Rdi = 7, R8 = 8, R9 = 9, R10 = 10, R11 = 11,
}

/// <summary>
/// The few x86-64 instructions that tile kernels are made of, as bytes (Intel SDM vol. 2): .NET 10 has no intrinsics for AMX, and what
/// stands between tile instructions in one loop must be of the same making. Tiles are numbers 0-7; memory operands are
/// [base + displacement], with an index or twice an index where the method has one.
/// </summary>
internal sealed partial class Assembler
{
    readonly List<byte> code = [];

    public ReadOnlySpan<byte> Code => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(code);

    /// <summary>The offset of the next instruction: a place to jump back to.</summary>
    public int Here => code.Count;

    // --- general ---

    /// <summary>to = [at + displacement], 64 bits.</summary>
    public void Load(Register to, Register at, int displacement)
    {
        Bytes(Rex((int)to, 0, (int)at), 0x8B);
        Memory((int)to, at, displacement);
    }

    /// <summary>to += [at + displacement], 64 bits.</summary>
    public void Add(Register to, Register at, int displacement)
    {
        Bytes(Rex((int)to, 0, (int)at), 0x03);
        Memory((int)to, at, displacement);
    }

    /// <summary>to += value.</summary>
    public void Add(Register to, int value)
    {
        Bytes(Rex(0, 0, (int)to), 0x81, ModRM(3, 0, (int)to));
        Int(value);
    }

    /// <summary>to = value, not negative.</summary>
    public void Set(Register to, int value)
    {
        Optional(0, 0, (int)to);
        Bytes((byte)(0xB8 | (int)to & 7));
        Int(value);
    }

    /// <summary>to = from.</summary>
    public void Move(Register to, Register from) => Bytes(Rex((int)from, 0, (int)to), 0x89, ModRM(3, (int)from, (int)to));

    /// <summary>[at + displacement] = 0, 64 bits.</summary>
    public void Clear(Register at, int displacement)
    {
        Bytes(Rex(0, 0, (int)at), 0xC7);
        Memory(0, at, displacement);
        Int(0);
    }

    /// <summary>to = at + 2 index.</summary>
    public void AddressOfSecond(Register to, Register at, Register index) =>
        Bytes(Rex((int)to, (int)index, (int)at), 0x8D, ModRM(1, (int)to, 4), Sib(1, (int)index, (int)at), 0);

    /// <summary>Sets the zero flag if it is zero.</summary>
    public void Test(Register register) => Bytes(Rex((int)register, 0, (int)register), 0x85, ModRM(3, (int)register, (int)register));

    /// <summary>Compares with a number, for <see cref="JumpIfNotAbove"/>.</summary>
    public void Compare(Register register, int value)
    {
        Bytes(Rex(0, 0, (int)register), 0x81, ModRM(3, 7, (int)register));
        Int(value);
    }

    /// <summary>Jumps forward if what was compared is not above, unsigned; <see cref="Land"/> says where to.</summary>
    public int JumpIfNotAbove()
    {
        Bytes(0x0F, 0x86);
        Int(0);
        return code.Count;
    }

    /// <summary>Jumps back unless the last result was zero.</summary>
    public void JumpIfNotZero(int target)
    {
        Bytes(0x0F, 0x85);
        Int(target - (code.Count + 4));
    }

    /// <summary>Jumps forward if the last result was zero; <see cref="Land"/> says where to.</summary>
    public int JumpIfZero()
    {
        Bytes(0x0F, 0x84);
        Int(0);
        return code.Count;
    }

    /// <summary>Jumps forward; <see cref="Land"/> says where to.</summary>
    public int Jump()
    {
        Bytes(0xE9);
        Int(0);
        return code.Count;
    }

    /// <summary>The jump that returned <paramref name="jump"/> comes here.</summary>
    public void Land(int jump) => JumpsTo(jump, code.Count);

    /// <summary>The jump that returned <paramref name="jump"/> goes to <paramref name="target"/>.</summary>
    public void JumpsTo(int jump, int target) =>
        BitConverter.TryWriteBytes(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(code)[(jump - 4)..], target - jump);

    /// <summary>Asks for the cache line of [at].</summary>
    public void Prefetch(Register at)
    {
        Optional(0, 0, (int)at);
        Bytes(0x0F, 0x18, ModRM(1, 1, (int)at), 0);
    }

    /// <summary>Asks for the cache line of [at + displacement].</summary>
    public void Prefetch(Register at, int displacement)
    {
        Optional(0, 0, (int)at);
        Bytes(0x0F, 0x18);
        Memory(1, at, displacement);
    }

    /// <summary>Asks for the cache line of [at + index].</summary>
    public void Prefetch(Register at, Register index)
    {
        Optional(0, (int)index, (int)at);
        Bytes(0x0F, 0x18, ModRM(1, 1, 4), Sib(0, (int)index, (int)at), 0);
    }

    public void Return() => Bytes(0xC3);

    // --- tiles ---

    /// <summary>The shapes of all tiles, from the 64 bytes at [at] (<see cref="TileShapes"/>).</summary>
    public void LoadShapes(Register at)
    {
        Vex(0, 0, (int)at, 0, Prefix.None, 0x49);
        Bytes(ModRM(1, 0, (int)at), 0);
    }

    /// <summary>Forgets all tiles and their shapes: switching to another thread costs nothing any more.</summary>
    public void Release()
    {
        Vex(0, 0, 0, 0, Prefix.None, 0x49);
        Bytes(0xC0);
    }

    /// <summary>tile = 0.</summary>
    public void Zero(int tile)
    {
        Vex(tile, 0, 0, 0, Prefix.F2, 0x49);
        Bytes(ModRM(3, tile, 0));
    }

    /// <summary>Row i of the tile = [at + i stride + displacement], or [at + 2 i stride + displacement].</summary>
    public void Load(int tile, Register at, Register stride, int displacement = 0, bool twice = false) =>
        TileMemory(Prefix.F2, tile, at, stride, displacement, twice);

    /// <summary>[at + i stride + displacement], or [at + 2 i stride + displacement], = row i of the tile.</summary>
    public void Store(int tile, Register at, Register stride, int displacement = 0, bool twice = false) =>
        TileMemory(Prefix.F3, tile, at, stride, displacement, twice);

    /// <summary>c[m,n] += Σ over pairs k of a[m][2k] b[k][2n] + a[m][2k+1] b[k][2n+1], bf16 into f32 (TDPBF16PS).</summary>
    public void ProductBF16(int c, int a, int b) => Product(c, a, b, Prefix.F3, 0x5C);

    /// <summary>c[m,n] += Σ over quads k of a[m][4k+i] b[k][4n+i], signed bytes into i32 (TDPBSSD).</summary>
    public void ProductInt8(int c, int a, int b) => Product(c, a, b, Prefix.F2, 0x5E);

    void Product(int c, int a, int b, Prefix prefix, byte opcode)
    {
        Vex(c, 0, a, b, prefix, opcode);
        Bytes(ModRM(3, c, a));
    }

    void TileMemory(Prefix prefix, int tile, Register at, Register stride, int displacement, bool twice)
    {
        Vex(tile, (int)stride, (int)at, 0, prefix, 0x4B);
        Bytes(ModRM(2, tile, 4), Sib(twice ? 1 : 0, (int)stride, (int)at));
        Int(displacement);
    }

    // --- encoding ---

    enum Prefix { None = 0, P66 = 1, F3 = 2, F2 = 3 }

    // Three-byte VEX, opcode map 0F38, 128 bits, W0; registers beyond 7 are in inverted bits.
    void Vex(int reg, int index, int rm, int second, Prefix prefix, byte opcode) => Bytes(
        0xC4,
        (byte)((reg < 8 ? 0x80 : 0) | (index < 8 ? 0x40 : 0) | (rm < 8 ? 0x20 : 0) | 0x02),
        (byte)((~second & 15) << 3 | (int)prefix),
        opcode);

    static byte Rex(int reg, int index, int rm) => (byte)(0x48 | Extensions(reg, index, rm));

    static int Extensions(int reg, int index, int rm) => reg >> 3 << 2 | index >> 3 << 1 | rm >> 3;

    void Optional(int reg, int index, int rm)
    {
        if (Extensions(reg, index, rm) != 0)
        {
            Bytes((byte)(0x40 | Extensions(reg, index, rm)));
        }
    }

    static byte ModRM(int mode, int reg, int rm) => (byte)(mode << 6 | (reg & 7) << 3 | rm & 7);

    static byte Sib(int scale, int index, int at) => (byte)(scale << 6 | (index & 7) << 3 | at & 7);

    // [at + displacement]; none of the registers used here is RSP or R12, which would need more.
    void Memory(int reg, Register at, int displacement)
    {
        Bytes(ModRM(2, reg, (int)at));
        Int(displacement);
    }

    void Bytes(params ReadOnlySpan<byte> bytes) => code.AddRange(bytes);

    void Int(int value) => code.AddRange(BitConverter.GetBytes(value));
}
