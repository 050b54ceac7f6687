namespace KvCuda.Kernels;

/// <summary>The shape of one launch: blocks, threads per block and what else the launch asks for.</summary>
/// <param name="X">blocks along x: at least 1</param>
/// <param name="Y">blocks along y: 1 to 65535</param>
/// <param name="Z">blocks along z: 1 to 65535</param>
/// <param name="Threads">threads per block</param>
internal readonly record struct Grid(int X, int Y, int Z, int Threads)
{
    public Grid(int blocks, int threads) : this(blocks, 1, 1, threads) { }

    /// <summary>Bytes of dynamic shared memory per block.</summary>
    public int SharedBytes { get; init; }

    /// <summary>Blocks per cluster along x; 0: no clusters.</summary>
    public int Cluster { get; init; }

    /// <summary>All blocks are resident at once and may wait for one another.</summary>
    public bool Cooperative { get; init; }

    /// <summary>May start before the previous kernel ends; the kernel itself waits (griddepcontrol.wait).</summary>
    public bool Programmatic { get; init; }

    /// <summary>Blocks of <paramref name="threads"/> threads that cover <paramref name="items"/> items, one per thread.</summary>
    public static Grid OneThreadPer(long items, int threads = 256) => new(Blocks(items, threads), threads);

    /// <summary>Blocks of <paramref name="warps"/> warps that cover <paramref name="rows"/> rows, one per warp.</summary>
    public static Grid OneWarpPer(long rows, int warps) => new(Blocks(rows, warps), 32 * warps);

    /// <summary>How many blocks of <paramref name="perBlock"/> items cover <paramref name="items"/>, rounded up.</summary>
    public static int Blocks(long items, int perBlock) => checked((int)((items + perBlock - 1) / perBlock));

    public override string ToString() =>
        $"({X}, {Y}, {Z}) blocks of {Threads} threads" + (SharedBytes > 0 ? $" with {SharedBytes} dynamic shared bytes" : "");
}
