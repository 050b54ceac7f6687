using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>Which kernel a product runs on, and why: a pure function of its shape, first matching row wins.</summary>
internal readonly record struct MatmulPlan(MatmulPlan.Kind Kernel, MatmulMma.Tile Tile, string Reason)
{
    internal enum Kind
    {
        Matvec,
        Tile,
        Mma,
    }

    /// <summary>
    /// Calls of more rows are prompt-sized: in class "fast" their bits may differ from those of the same rows in a small
    /// call. Decode steps of up to so many sequences all run on <see cref="Matvec"/>, so their rows do not depend on
    /// their batch mates.
    /// </summary>
    public const int MostDecodeRows = 64;

    /// <param name="rows">rows of x</param>
    /// <param name="outputs">rows of the weights</param>
    /// <param name="takesMma"><see cref="MatmulMma.Takes"/></param>
    /// <param name="consistent">a row's bits must not depend on the call's size</param>
    /// <param name="exact">activations must not be rounded to the weights' type</param>
    /// <param name="multiprocessors">SMs of the device</param>
    public static MatmulPlan Choose(int rows, int outputs, bool takesMma, bool consistent, bool exact, int multiprocessors) =>
        rows <= Matvec.MostRows ? new(Kind.Matvec, default, "few rows: bound by reading the weights once")
        : consistent ? new(Kind.Matvec, default, "class consistent: the order of a single row")
        : rows <= MostDecodeRows ? new(Kind.Matvec, default, "decode-sized: rows must not depend on batch mates")
        : exact || !takesMma ? new(Kind.Tile, default, exact ? "exact: activations stay f32" : "f32 or unaligned weights")
        : Blocks(MatmulMma.Tile.Large, rows, outputs) < multiprocessors
            ? new(Kind.Mma, MatmulMma.Tile.Small, "large tiles would leave SMs idle")
        : new(Kind.Mma, MatmulMma.Tile.Large, "most work per byte");

    static long Blocks(MatmulMma.Tile tile, int rows, int outputs) =>
        (long)Grid.Blocks(rows, tile.Rows) * Grid.Blocks(outputs, tile.Outputs);
}
