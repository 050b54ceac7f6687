using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Products with int8 weights (<see cref="Int8Layout"/>), any number of rows: with x rounded to 16 bits (<see cref="Int8Activations"/>)
///
///     y[r,o] = chain over groups ascending of fma((float)dot, scale_w[o,g] * scale_x[r,g], sum), from 0
///     dot    = Σ over the group's 32 inputs of byte[o,i] * number[r,i], exact
///
/// The lanes of a register are outputs, so nothing is summed over lanes, and all that could depend on how a call is cut is exact.
///
/// A tile is up to eight rows (four without AVX-512) x one block of outputs x a piece of the groups; its f32 sums wait in memory.
/// Tiles run over rows, then pieces, then blocks: a piece of x stays in the L1 cache while the pieces of some blocks pass by,
/// and these blocks stay in the L2 cache for the next rows. Of a single tile of rows the pieces are short: that is, a thread reads
/// several streams of weights side by side, which memory likes better than one.
/// </summary>
internal static unsafe class Int8Kernel<TSums, TRegister>
    where TSums : struct, IInt8Sums<TSums, TRegister> where TRegister : struct, IRegister<TRegister>
{
    // Blocks that a share has side by side: streams if rows are few.
    const int FewRowsStreams = 4, FewRowsPiece = 2;

    // 8 rows x 32 groups x 64 bytes = 16 KB of x, and as much of weights, which pass by.
    const int ManyRowsPiece = 32;

    // Weights of a share when there are many rows: they share the L2 cache with x, which passes by.
    const int ManyRowsBytes = 512 * 1024;

    const int MostRows = 8;

    /// <summary>How a call is cut.</summary>
    struct Plan
    {
        public Product Product;
        public Int8Layout Weights;
        public short* Numbers;  // tiles of rows, each as Int8Activations.Row writes it
        public float* Scales;   // the same
        public int Tiles;       // of rows, as equal as can be
        public int Blocks;      // of outputs, side by side
        public int PieceGroups;

        public readonly int First(int tile) => (int)((long)Product.Rows * tile / Tiles);
    }

    /// <summary>A tile's operands, each from its first group on.</summary>
    struct Piece
    {
        public short* X;        // [group][row][32]
        public float* XScales;  // [group][row]
        public sbyte* W;        // [group][8][16][4]
        public ushort* WScales; // [group][16]
        public float* Sums;     // [row][16]
        public int Groups;
    }

    public static void Run(ThreadTeam team, in Product product)
    {
        Plan plan = new()
        {
            Product = product, Weights = new(product.Outputs, product.Inputs),
            Tiles = (product.Rows + TSums.MaxRows - 1) / TSums.MaxRows,
        };
        long numbers = (long)product.Rows * product.Inputs;
        using Scratch x = new(numbers / 2), scales = new(numbers / Int8Layout.Group);
        plan.Numbers = (short*)x.Address;
        plan.Scales = scales.Address;
        if (plan.Tiles == 1)
        {
            (plan.Blocks, plan.PieceGroups) = (FewRowsStreams, FewRowsPiece);
        }
        else
        {
            plan.Blocks = (int)Math.Clamp(ManyRowsBytes / plan.Weights.BlockBytes, 1, 32);
            plan.PieceGroups = ManyRowsPiece;
        }
        // Some shares for each member, so that none waits long for the last one.
        plan.Blocks = Math.Max(1, Math.Min(plan.Blocks, plan.Weights.Blocks / (4 * team.Members)));
        bool alone = numbers * product.Outputs < CpuKernels.WorthSharing;
        team.Run(&ShareRows, &plan, product.Rows, alone || numbers < RowKernels.WorthSharing);
        team.Run(&ShareBlocks, &plan, (plan.Weights.Blocks + plan.Blocks - 1) / plan.Blocks, alone);
    }

    static void ShareRows(void* argument, int row, int rows)
    {
        ref Plan plan = ref *(Plan*)argument;
        int tile = (int)(((long)(row + 1) * plan.Tiles - 1) / rows), first = plan.First(tile);
        long groups = plan.Weights.Groups;
        Int8Activations.Row(plan.Product.X + (long)row * plan.Product.Inputs, plan.Weights.Groups,
            plan.Numbers + (first * groups + row - first) * Int8Layout.Group, plan.Scales + first * groups + row - first,
            plan.First(tile + 1) - first);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void ShareBlocks(void* argument, int share, int shares)
    {
        ref Plan plan = ref *(Plan*)argument;
        ref Int8Layout layout = ref plan.Weights;
        int first = share * plan.Blocks, blocks = Math.Min(plan.Blocks, layout.Blocks - first), groups = layout.Groups;
        byte* weights = (byte*)plan.Product.Weight + first * layout.BlockBytes;
        const int tileSums = MostRows * Int8Layout.Block;
        using Scratch sums = new(blocks * tileSums);
        for (int tile = 0; tile < plan.Tiles; tile++)
        {
            int row = plan.First(tile), rows = plan.First(tile + 1) - row;
            delegate*<in Piece, void> product = TileOf(rows);
            sums.Span.Clear();
            for (int group = 0; group < groups; group += plan.PieceGroups)
            {
                long at = (long)row * groups + (long)group * rows;
                Piece piece = new()
                {
                    X = plan.Numbers + at * Int8Layout.Group, XScales = plan.Scales + at, Groups = Math.Min(plan.PieceGroups, groups - group),
                };
                for (int block = 0; block < blocks; block++)
                {
                    byte* begin = weights + block * layout.BlockBytes;
                    piece.W = (sbyte*)begin + layout.ScaleBytes + group * Int8Layout.GroupBytes;
                    piece.WScales = (ushort*)begin + group * Int8Layout.Block;
                    piece.Sums = sums.Address + block * tileSums;
                    product(piece);
                }
            }
            for (int block = 0; block < blocks; block++)
            {
                plan.Product.PutBlock(row, rows, (first + block) * Int8Layout.Block, sums.Address + block * tileSums);
            }
        }
    }

    static delegate*<in Piece, void> TileOf(int rows) => rows switch
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
    static void Tile<TRows>(in Piece piece) where TRows : struct, ICount
    {
        short* x = piece.X;
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
                    Prefetch(quads);
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
            x += TRows.Value * Int8Layout.Group;
            xScales += TRows.Value;
            wScales += Int8Layout.Block;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Add(float* sums, TSums dots, TRegister wScales, float xScale) => TRegister.Store(
        TRegister.Fma(TSums.ToSingle(dots), TRegister.Multiply(wScales, TRegister.All(xScale)), TRegister.Load(sums)), sums);

    // As in MatvecKernel: the processor's own prefetchers stop at the end of a page.
    const int Ahead = 4 * 1024;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Prefetch(sbyte* w)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0(w + Ahead);
        }
    }
}
