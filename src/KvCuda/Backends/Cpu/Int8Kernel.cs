using System.Runtime.CompilerServices;
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
/// A tile is some rows x one block of outputs x a piece of the groups; its f32 sums wait in memory. Tiles run over rows, then pieces, then
/// blocks: a piece of x stays in the L1 cache while the pieces of some blocks pass by, and these blocks stay in the L2 cache for the
/// next rows. A single tile of rows reads every block once, from memory: then what counts is how a thread's streams of weights run.
/// </summary>
internal static unsafe class Int8Kernel<TTile> where TTile : struct, IInt8Tile
{
    // Weights of a share when rows are few: some microseconds of reading.
    const long StreamShareBytes = 128 * 1024;

    // How far ahead of its use a single stream is fetched: the processor's own prefetchers stop at the end of a page.
    const long AheadBytes = 4 * 1024;

    // Weights of a share when rows are many: they share the L2 cache with x, which passes by.
    const int ResidentBytes = 512 * 1024;

    /// <summary>How a call is cut.</summary>
    struct Plan
    {
        public ProductSet Set;   // the same x, one after another
        public Product Product;  // the first of them
        public Int8Layout Weights;
        public int AllBlocks;
        public byte* Numbers;   // of x, tile after tile of rows
        public float* Scales;   // [tile][group][room]
        public int Tiles;       // of rows, as equal as can be
        public int Room;        // rows that a tile has room for
        public int SideBySide;  // blocks of outputs
        public int PieceGroups;

        public readonly int First(int tile) => (int)((long)Product.Rows * tile / Tiles);

        public readonly byte* NumbersOf(int tile) => Numbers + (long)tile * Weights.Groups * TTile.GroupBytes(Room);

        public readonly float* ScalesOf(int tile) => Scales + (long)tile * Weights.Groups * Room;
    }

    /// <summary>Products with the same x.</summary>
    public static void Run(ThreadTeam team, in ProductSet products)
    {
        Product product = products[0];
        Plan plan = new()
        {
            Set = products, Product = product, Weights = new(product.Outputs, product.Inputs),
            Tiles = (product.Rows + TTile.MaxRows - 1) / TTile.MaxRows,
        };
        long outputs = 0;
        for (int i = 0; i < products.Count; i++)
        {
            plan.AllBlocks += BlocksOf(products[i]);
            outputs += products[i].Outputs;
        }
        plan.Room = TTile.RoomOf((product.Rows + plan.Tiles - 1) / plan.Tiles);
        long groups = (long)plan.Tiles * plan.Weights.Groups;
        using Scratch numbers = new(groups * TTile.GroupBytes(plan.Room) / sizeof(float)), scales = new(groups * plan.Room);
        plan.Numbers = (byte*)numbers.Address;
        plan.Scales = scales.Address;
        int shares, least = 4 * team.Members; // so that none waits long for the last one
        if (plan.Tiles == 1)
        {
            shares = (int)Math.Clamp(plan.AllBlocks * plan.Weights.BlockBytes / StreamShareBytes, least, 16 * least);
            (plan.SideBySide, plan.PieceGroups) = (TTile.Streams, Math.Min(TTile.StreamGroups, plan.Weights.Groups));
        }
        else
        {
            plan.SideBySide = (int)Math.Clamp(ResidentBytes / plan.Weights.BlockBytes, 1, Math.Max(1, plan.AllBlocks / least));
            shares = (plan.AllBlocks + plan.SideBySide - 1) / plan.SideBySide;
            plan.PieceGroups = TTile.PieceGroups;
        }
        long x = (long)product.Rows * product.Inputs;
        bool alone = x * outputs < CpuKernels.WorthSharing;
        team.Run(&ShareRows, &plan, product.Rows, alone || x < RowKernels.WorthSharing);
        team.Run(&ShareBlocks, &plan, Math.Min(shares, plan.AllBlocks), alone);
    }

    static void ShareRows(void* argument, int row, int rows)
    {
        ref Plan plan = ref *(Plan*)argument;
        int tile = (int)(((long)(row + 1) * plan.Tiles - 1) / rows);
        TTile.Pack(plan.Product.X + (long)row * plan.Product.Inputs, plan.Weights.Groups, row - plan.First(tile), plan.Room,
            plan.NumbersOf(tile), plan.ScalesOf(tile));
    }

    static void ShareBlocks(void* argument, int share, int shares)
    {
        ref Plan plan = ref *(Plan*)argument;
        (int start, int end) = ThreadTeam.Share(plan.AllBlocks, share, shares);
        TTile.Begin(plan.Room);
        try
        {
            for (int i = 0, first = 0; first < end; first += BlocksOf(plan.Set[i++]))
            {
                int from = Math.Max(start - first, 0), to = Math.Min(end - first, BlocksOf(plan.Set[i]));
                for (int next; from < to; from = next)
                {
                    // As equal parts as can be.
                    next = from + (to - from) / ((to - from + plan.SideBySide - 1) / plan.SideBySide);
                    Blocks(plan, plan.Set[i], from, next, last: next == to);
                }
            }
        }
        finally
        {
            TTile.End();
        }
    }

    static int BlocksOf(in Product product) => (product.Outputs + Int8Layout.Block - 1) / Int8Layout.Block;

    // Neighbouring blocks side by side, all rows.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Blocks(in Plan plan, in Product product, int start, int end, bool last)
    {
        Int8Layout layout = plan.Weights;
        int groups = layout.Groups, tileSums = TTile.MaxRows * Int8Layout.Block;
        long blockBytes = layout.BlockBytes, scaleBytes = layout.ScaleBytes;
        byte* weights = (byte*)product.Weight + start * blockBytes;
        using Scratch sums = new((end - start) * tileSums);
        for (int tile = 0; tile < plan.Tiles; tile++)
        {
            int row = plan.First(tile), rows = plan.First(tile + 1) - row;
            delegate*<in Int8Piece, void> multiply = TTile.Of(rows);
            sums.Span.Clear();
            for (int group = 0; group < groups; group += plan.PieceGroups)
            {
                Int8Piece piece = new()
                {
                    X = plan.NumbersOf(tile) + group * TTile.GroupBytes(plan.Room), XScales = plan.ScalesOf(tile) + group * plan.Room,
                    Room = plan.Room, Groups = Math.Min(plan.PieceGroups, groups - group), Streams = plan.Tiles == 1 ? 1 : 0,
                };
                // What a stream comes to next: more of its block, or the block that follows when all of these are done.
                long ahead = TTile.Streams == 1 ? AheadBytes
                    : group + plan.PieceGroups < groups ? plan.PieceGroups * Int8Layout.GroupBytes
                    : last ? 0 : (end - start) * blockBytes - group * Int8Layout.GroupBytes;
                for (int block = 0; block < end - start; block++)
                {
                    byte* begin = weights + block * blockBytes;
                    piece.W = (sbyte*)begin + scaleBytes + group * Int8Layout.GroupBytes;
                    piece.Ahead = piece.W + ahead;
                    piece.WScales = (ushort*)begin + group * Int8Layout.Block;
                    piece.Sums = sums.Address + block * tileSums;
                    multiply(piece);
                }
            }
            for (int block = start; block < end; block++)
            {
                product.PutBlock(row, rows, block * Int8Layout.Block, sums.Address + (block - start) * tileSums);
            }
        }
    }
}
