using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Backends.Cpu.Amx;

/// <summary>
/// Products with bf16 weights on AMX, for any number of rows: y[r,o] = Σ w[o,k] upper[r,k] + Σ w[o,k] lower[r,k], x = upper + lower
/// (<see cref="XTiles"/>). Each of the two sums is one element of a tile's chain of steps, ascending, whatever else is in the tile: a row's bits
/// are the same alone, in a batch and in a prompt.
///
/// Weights are the left operand: a tile is 16 outputs x 32 inputs exactly as they lie in the file. 32 outputs (a unit) are taken at once.
/// - Up to 16 rows: weights are read in place and each once, 32 rows of the matrix side by side, which the memory serves faster than
///   one stream.
/// - More: a block of weights is copied to the L2 cache, tile after tile, and the rows pass by, 16 at a time: of their tiles
///   <see cref="PartSteps"/> steps stay in the L1 cache while the block's tiles pass by in turn.
/// </summary>
internal static unsafe class TileProduct
{
    const int Unit = 32;              // outputs
    const int UnitStep = Unit * 64;   // bytes: the two tiles of a step
    const int PairRows = 2 * XTiles.MaxRows, TileBytes = 1024, PairStep = 2 * TileBytes;

    // A block of weights: 256 outputs x 2048 inputs, 1 MB of a 2 MB L2 cache. All rows of x come by once for each block.
    const int BlockUnits = 8, BlockSteps = 64;

    // 16 steps of 16 rows are 32 KB, most of the L1 cache.
    const int PartSteps = 16;

    // How far ahead of its use each of 32 rows of weights is fetched: 4 KB in all, near enough not to be gone again. Of 2, 4, 8 and 16 the
    // least was the best everywhere (768 inputs: 30, 29, 27 and 20 GB/s).
    const int AheadSteps = 2;

    /// <summary>Whether it takes matrices of this shape; the others are too small to be worth anything.</summary>
    public static bool Takes(int inputs, int outputs) => inputs >= Product.Step && outputs >= Unit;

    struct Plan
    {
        public Product* Products; // with the same x
        public Product Product;   // the first of them
        public byte* X;           // tiles
        public int TileRows;      // rows of x in one: 1, 2, 4, 8
        public int Tiles;         // of rows
        public int Units, BlockUnits;
        public TileShapes Shapes;

        public readonly int Steps => Product.Steps;

        // Tiles of 8 rows come in pairs, [step][2]; the last may be alone.
        public readonly byte* TileOf(int tile) =>
            X + (long)(tile & ~1) * Steps * TileBytes + ((tile & 1) == 1 ? TileBytes : 0);

        public readonly nint StepOf(int tile) =>
            TileRows < XTiles.MaxRows ? TileRows * 128 : (tile | 1) < Tiles ? PairStep : TileBytes;

        /// <summary>Of which product a unit is, and its outputs; the last unit of a product overlaps the one before where there are not enough.</summary>
        public readonly UnitOf Of(int unit)
        {
            Product* product = Products;
            for (; unit >= UnitsOf(*product); product++)
            {
                unit -= UnitsOf(*product);
            }
            int first = Math.Min(unit * Unit, product->Outputs - Unit);
            return new(product, first, unit * Unit - first);
        }
    }

    readonly struct UnitOf(Product* product, int first, int known)
    {
        public readonly Product* Product = product;
        public readonly int First = first;  // of its 32 outputs
        public readonly int Known = known;  // outputs that the unit before has put

        public byte* Weights => (byte*)Product->Weight + (long)First * Product->Inputs * 2;
    }

    static int UnitsOf(in Product product) => (product.Outputs + Unit - 1) / Unit;

    public static void Run(ThreadTeam team, in ProductSet products)
    {
        Product product = products[0];
        int units = 0;
        long weights = 0;
        for (int i = 0; i < products.Count; i++)
        {
            units += UnitsOf(products[i]);
            weights += (long)product.Inputs * products[i].Outputs;
        }
        Product* set = stackalloc Product[products.Count];
        for (int i = 0; i < products.Count; i++)
        {
            set[i] = products[i];
        }
        int tileRows = XTiles.RowsOf(product.Rows);
        Plan plan = new()
        {
            Products = set, Product = product, TileRows = tileRows, Tiles = (product.Rows + tileRows - 1) / tileRows, Units = units,
        };
        for (int tile = 0; tile < 8; tile++)
        {
            plan.Shapes.Set(tile, 16, tile is 4 or 5 ? 64 : tileRows * 8); // A, else C or B
        }
        using Scratch x = new((long)plan.Tiles * plan.Steps * tileRows * 32);
        plan.X = (byte*)x.Address;
        team.Run(&ShareRows, &plan, plan.Tiles, alone: product.Rows < PairRows);
        if (plan.Tiles <= 2)
        {
            int shares = Math.Min(plan.Units, 16 * team.Members);
            team.Run(&ShareInPlace, &plan, shares, alone: product.Rows * weights < WorthSharing);
            return;
        }
        plan.BlockUnits = Math.Clamp(plan.Units / (2 * team.Members), 1, BlockUnits);
        team.Run(&ShareBlocks, &plan, (plan.Units + plan.BlockUnits - 1) / plan.BlockUnits);
    }

    // Below this many products, waking the team costs more than the work.
    const long WorthSharing = 64 * 1024;

    static void ShareRows(void* argument, int tile, int tiles)
    {
        ref Plan plan = ref *(Plan*)argument;
        ref Product p = ref plan.Product;
        int row = tile * plan.TileRows;
        XTiles.Pack(p.X + (long)row * p.Inputs, Math.Min(plan.TileRows, p.Rows - row), p.Inputs, plan.TileRows, plan.TileOf(tile), plan.StepOf(tile));
    }

    static void ShareInPlace(void* argument, int share, int shares)
    {
        ref Plan plan = ref *(Plan*)argument;
        (int start, int end) = ThreadTeam.Share(plan.Units, share, shares);
        using Scratch sums = new(4 * TileBytes / sizeof(float));
        Tiles.Code.Shape(ref plan.Shapes);
        try
        {
            for (int unit = start; unit < end; unit++)
            {
                InPlace(plan, unit, sums.Address);
            }
        }
        finally
        {
            Tiles.Code.Release();
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void InPlace(in Plan plan, int unit, float* sums)
    {
        UnitOf of = plan.Of(unit);
        ref readonly Product p = ref *of.Product;
        nint row = (nint)p.Inputs * 2;
        byte* weights = of.Weights;
        int whole = p.Inputs / Product.Step, ahead = Math.Min(AheadSteps, whole - 1);
        // Near the end of its rows a unit fetches the beginning of the next one's.
        TileCall call = new()
        {
            A0 = weights, A1 = weights + 16 * row, AStride = row, AStep = 64, B = plan.X, BStride = plan.TileRows * 8, BStep = plan.StepOf(0), C = sums,
            Steps = whole - ahead, Ahead = weights + ahead * 64, MoreSteps = ahead, MoreAhead = weights + Unit * row,
        };
        Tiles.Code.MultiplyStreaming(ref call, plan.Tiles);
        if (whole < p.Steps)
        {
            nint last = (nint)(p.Inputs - Product.Step) * 2;
            call.A0 = weights + last;
            call.A1 = call.A0 + 16 * row;
            call.B += whole * call.BStep;
            (call.CarryOn, call.Steps) = (1, 1);
            Tiles.Code.Multiply(ref call, plan.Tiles);
        }
        for (int tile = 0; tile < plan.Tiles; tile++)
        {
            Put(plan, tile, of, sums + tile * TileBytes / 4);
        }
    }

    static void ShareBlocks(void* argument, int block, int blocks)
    {
        ref Plan plan = ref *(Plan*)argument;
        ref Product p = ref plan.Product;
        int first = block * plan.BlockUnits, units = Math.Min(plan.BlockUnits, plan.Units - first);
        int pairs = (plan.Tiles + 1) / 2, pieces = (p.Steps + BlockSteps - 1) / BlockSteps;
        int unitFloats = 4 * TileBytes / sizeof(float), pairFloats = units * unitFloats;
        using Scratch weights = new((long)units * Math.Min(BlockSteps, p.Steps) * UnitStep / sizeof(float));
        // Sums wait in memory while there are more inputs to come; else those of one pair are enough.
        using Scratch sums = new((long)pairFloats * (pieces == 1 ? 1 : pairs));
        Tiles.Code.Shape(ref plan.Shapes);
        try
        {
            for (int piece = 0; piece < pieces; piece++)
            {
                int from = p.Steps * piece / pieces, steps = p.Steps * (piece + 1) / pieces - from;
                for (int unit = 0; unit < units; unit++)
                {
                    Copy(plan.Of(first + unit), from, steps, (byte*)weights.Address + (long)unit * steps * UnitStep);
                }
                for (int pair = 0; pair < pairs; pair++)
                {
                    float* to = sums.Address + (pieces == 1 ? 0 : pair * (long)pairFloats);
                    Pair(plan, pair, first, units, from, steps, (byte*)weights.Address, to);
                    for (int unit = 0; piece == pieces - 1 && unit < units; unit++)
                    {
                        UnitOf of = plan.Of(first + unit);
                        Put(plan, 2 * pair, of, to + unit * unitFloats);
                        if (2 * pair + 1 < plan.Tiles)
                        {
                            Put(plan, 2 * pair + 1, of, to + unit * unitFloats + TileBytes / 4);
                        }
                    }
                }
            }
        }
        finally
        {
            Tiles.Code.Release();
        }
    }

    // Up to 16 rows against a block of weights: sums of each unit (+)= products over its steps.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Pair(in Plan plan, int pair, int firstUnit, int units, int from, int steps, byte* weights, float* sums)
    {
        int tiles = Math.Min(2, plan.Tiles - 2 * pair);
        int parts = (steps + PartSteps - 1) / PartSteps;
        TileCall call = new() { AStride = 64, AStep = UnitStep, BStride = 64, BStep = plan.StepOf(2 * pair) };
        byte* x = plan.TileOf(2 * pair) + from * call.BStep;
        for (int part = 0; part < parts; part++)
        {
            int first = steps * part / parts;
            call.B = x + first * call.BStep;
            call.CarryOn = from + first > 0 ? 1 : 0;
            for (int unit = 0; unit < units; unit++)
            {
                call.A0 = weights + ((long)unit * steps + first) * UnitStep;
                call.A1 = call.A0 + TileBytes;
                call.C = sums + unit * TileBytes;
                call.Steps = steps * (part + 1) / parts - first;
                if (part == parts - 1)
                {
                    // The lines of y that the sums are for come meanwhile.
                    UnitOf of = plan.Of(firstUnit + unit);
                    float* y = of.Product->Y + (long)pair * PairRows * of.Product->Outputs + of.First;
                    for (int row = 0; row < Math.Min(PairRows, of.Product->Rows - pair * PairRows); row++, y += of.Product->Outputs)
                    {
                        Sse.Prefetch0(y);
                        Sse.Prefetch0(y + 16);
                    }
                }
                Tiles.Code.Multiply(ref call, tiles);
            }
        }
    }

    // 32 rows of weights, tile after tile. The last step of a row that is no multiple of 32 long is its last 32 numbers (XTiles.Pack).
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Copy(in UnitOf of, int from, int steps, byte* tiles)
    {
        ref readonly Product p = ref *of.Product;
        byte* weights = of.Weights;
        nint row = (nint)p.Inputs * 2;
        for (int step = from; step < from + steps; step++)
        {
            // All rows side by side, as a decode step reads them.
            byte* w = weights + Math.Min(step * 64, row - 64);
            for (int r = 0; r < Unit; r++, w += row, tiles += 64)
            {
                Sse.Prefetch0(w + AheadSteps * 64);
                Vector512.Load(w).Store(tiles);
            }
        }
    }

    // The sums of up to 8 rows and 32 outputs, [output][upper of rows, lower of rows], into y.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Put(in Plan plan, int tile, in UnitOf of, float* sums)
    {
        ref readonly Product p = ref *of.Product;
        int row = tile * plan.TileRows, rows = Math.Min(plan.TileRows, p.Rows - row);
        int output = of.First, known = of.Known;
        for (int half = 0; half < 2; half++, sums += 2 * TileBytes / 4, output += 16, known -= 16)
        {
            if (plan.TileRows == XTiles.MaxRows && known <= 0)
            {
                Put8(p, row, rows, output, sums);
                Put8(p, row, rows, output + 8, sums + 8 * 16);
                continue;
            }
            if (plan.TileRows == 1 && known <= 0)
            {
                // [output][upper, lower]: the even numbers plus the odd ones.
                Vector512<float> a = Vector512.Load(sums), b = Vector512.Load(sums + 16);
                Vector512<float> sum = Avx512F.PermuteVar16x32x2(a, Even, b) + Avx512F.PermuteVar16x32x2(a, Even + Vector512<int>.One, b);
                p.Put8(row, output, sum.GetLower());
                p.Put8(row, output + 8, sum.GetUpper());
                continue;
            }
            for (int o = Math.Max(0, known); o < 16; o++)
            {
                for (int r = 0; r < rows; r++)
                {
                    float* pair = sums + o * 2 * plan.TileRows + r;
                    p.Put(row + r, output + o, pair[0] + pair[plan.TileRows]);
                }
            }
        }
    }

    static Vector512<int> Even => Vector512<int>.Indices + Vector512<int>.Indices;

    // Eight outputs of a tile with 16 columns: upper + lower, transposed to rows of y.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Put8(in Product p, int row, int rows, int output, float* sums)
    {
        Vector256<float> a = Sum(sums), b = Sum(sums + 16), c = Sum(sums + 32), d = Sum(sums + 48);
        Vector256<float> e = Sum(sums + 64), f = Sum(sums + 80), g = Sum(sums + 96), h = Sum(sums + 112);
        Vector256<double> ab0 = Avx.UnpackLow(a, b).AsDouble(), ab1 = Avx.UnpackHigh(a, b).AsDouble();
        Vector256<double> cd0 = Avx.UnpackLow(c, d).AsDouble(), cd1 = Avx.UnpackHigh(c, d).AsDouble();
        Vector256<double> ef0 = Avx.UnpackLow(e, f).AsDouble(), ef1 = Avx.UnpackHigh(e, f).AsDouble();
        Vector256<double> gh0 = Avx.UnpackLow(g, h).AsDouble(), gh1 = Avx.UnpackHigh(g, h).AsDouble();
        // Row i, and in the upper half row i + 4, of four outputs.
        PutRows(p, row, rows, 0, output, Avx.UnpackLow(ab0, cd0), Avx.UnpackLow(ef0, gh0));
        PutRows(p, row, rows, 1, output, Avx.UnpackHigh(ab0, cd0), Avx.UnpackHigh(ef0, gh0));
        PutRows(p, row, rows, 2, output, Avx.UnpackLow(ab1, cd1), Avx.UnpackLow(ef1, gh1));
        PutRows(p, row, rows, 3, output, Avx.UnpackHigh(ab1, cd1), Avx.UnpackHigh(ef1, gh1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Sum(float* columns) => Vector256.Load(columns) + Vector256.Load(columns + XTiles.MaxRows);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void PutRows(in Product p, int row, int rows, int i, int output, Vector256<double> first, Vector256<double> second)
    {
        if (i < rows)
        {
            p.Put8(row + i, output, Vector256.Create(first.GetLower(), second.GetLower()).AsSingle());
        }
        if (i + 4 < rows)
        {
            p.Put8(row + i + 4, output, Vector256.Create(first.GetUpper(), second.GetUpper()).AsSingle());
        }
    }
}
