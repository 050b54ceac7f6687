namespace KvCuda.Backends.Cpu.Amx;

/// <summary>AVX-512 on whole registers, numbers 0-31: what a tile's sums need, so that it can run between the tiles' instructions.</summary>
internal sealed partial class Assembler
{
    /// <summary>to = [at + displacement].</summary>
    public void LoadVector(int to, Register at, int displacement) => VectorMemory(to, 0, at, displacement, Prefix.None, 1, 0x10);

    /// <summary>[at + displacement] = from.</summary>
    public void StoreVector(int from, Register at, int displacement) => VectorMemory(from, 0, at, displacement, Prefix.None, 1, 0x11);

    /// <summary>to = 16 unsigned 16-bit numbers at [at + displacement] as 32-bit ones (VPMOVZXWD).</summary>
    public void LoadWidened(int to, Register at, int displacement) => VectorMemory(to, 0, at, displacement, Prefix.P66, 2, 0x33);

    /// <summary>to = a shifted left, 32-bit lanes (VPSLLD).</summary>
    public void ShiftLeft(int to, int a, byte bits)
    {
        Evex(6, to, a, 0, Prefix.P66, 1, 0x72);
        Bytes(ModRM(3, 6, a), bits);
    }

    /// <summary>to = [at + displacement] shifted left.</summary>
    public void ShiftLeft(int to, Register at, int displacement, byte bits)
    {
        VectorMemory(6, to, at, displacement, Prefix.P66, 1, 0x72);
        Bytes(bits);
    }

    /// <summary>to = a + [at + displacement], 32-bit integers (VPADDD).</summary>
    public void AddIntegers(int to, int a, Register at, int displacement) => VectorMemory(to, a, at, displacement, Prefix.P66, 1, 0xFE);

    /// <summary>to = a, integers to f32 (VCVTDQ2PS).</summary>
    public void ToSingle(int to, int a)
    {
        Evex(to, 0, a, 0, Prefix.None, 1, 0x5B);
        Bytes(ModRM(3, to, a));
    }

    /// <summary>to = a * the one f32 at [at + displacement] (VMULPS).</summary>
    public void MultiplyByOne(int to, int a, Register at, int displacement) =>
        VectorMemory(to, a, at, displacement, Prefix.None, 1, 0x59, broadcast: true);

    /// <summary>sum += a * b, rounded once (VFMADD231PS).</summary>
    public void MultiplyAdd(int sum, int a, int b)
    {
        Evex(sum, a, b, 0, Prefix.P66, 2, 0xB8);
        Bytes(ModRM(3, sum, b));
    }

    /// <summary>Other code need not save the upper halves (VZEROUPPER).</summary>
    public void ZeroUpper() => Bytes(0xC5, 0xF8, 0x77);

    void VectorMemory(int reg, int second, Register at, int displacement, Prefix prefix, int map, byte opcode, bool broadcast = false)
    {
        Evex(reg, second, (int)at, broadcast ? 0x10 : 0, prefix, map, opcode);
        Memory(reg, at, displacement);
    }

    // 512 bits, W0, no mask. A register's fourth and fifth bits are here, inverted; the fifth of rm sits where an index's fourth would be.
    void Evex(int reg, int second, int rm, int broadcast, Prefix prefix, int map, byte opcode) => Bytes(
        0x62,
        (byte)((~reg & 8) << 4 | (~rm & 16) << 2 | (~rm & 8) << 2 | (~reg & 16) | map),
        (byte)((~second & 15) << 3 | 4 | (int)prefix),
        (byte)(0x40 | broadcast | (~second & 16) >> 1),
        opcode);
}
