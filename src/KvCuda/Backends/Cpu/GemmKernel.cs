using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Many rows: y[r,o] in the order of <see cref="MatvecKernel{TLanes, T, TElement}"/>, bit for bit, at the speed of the multipliers.
///
/// Lanes run over inputs as they do there, so a sum needs a whole register, and a tile of 6 rows x 4 outputs fills 24 of
/// AVX-512's 32 (3 x 4 of the 16 elsewhere): ten loads feed 24 multiply-adds. What is loaded lies ready:
/// - rows of x, once per call, as [group of lanes][step][row][16] (<see cref="XLanes.Rows"/>);
/// - a block of weights, once per block, widened to f32, as [panel of 4 outputs][group][step][output][16], in the L2 cache.
/// A tile runs over one group of lanes and at most <see cref="BlockSteps"/> steps: then its rows stay in the L1 cache while
/// the block's panels pass by, and its sums wait in memory; carrying a chain on from there changes no bit.
/// </summary>
internal static unsafe class GemmKernel<TLanes, TRegister, T, TElement>
    where TLanes : struct, ILanes<TLanes> where TRegister : struct, IRegister<TRegister>
    where T : unmanaged where TElement : IElement<T>
{
    const int PanelOutputs = 4;

    // 6 rows x 64 steps x 64 bytes = 24 KB of x, and 16 KB for the panel that passes by.
    const int BlockSteps = 64;

    // Weights of a block, widened: half of a 2 MB L2 cache. The larger, the seldomer all rows of x come by from further away.
    const int BlockBytes = 1024 * 1024, MostPanels = 32;

    static int TileRows => TLanes.HasManyRegisters ? 6 : 3;

    /// <summary>How a call is cut.</summary>
    internal struct Plan
    {
        public Product Product;
        public float* X;        // groups of rows, each as XLanes.Rows writes it
        public int Groups;      // of at most TileRows rows, as equal as can be
        public int BlockPanels; // panels of a block of weights
        public int Blocks;

        public readonly int First(int group) => (int)((long)Product.Rows * group / Groups);
    }

    public static void Run(ThreadTeam team, in Product product)
    {
        Plan plan = new() { Product = product, Groups = (product.Rows + TileRows - 1) / TileRows };
        long width = (long)product.Steps * Product.Step;
        int panels = (product.Outputs + PanelOutputs - 1) / PanelOutputs;
        plan.BlockPanels = (int)Math.Clamp(BlockBytes / (width * PanelOutputs * sizeof(float)), 1, MostPanels);
        // At least four blocks for each member, so that none waits long for the last one.
        plan.BlockPanels = Math.Max(1, Math.Min(plan.BlockPanels, panels / (4 * team.Members)));
        plan.Blocks = (panels + plan.BlockPanels - 1) / plan.BlockPanels;
        using Scratch x = new(product.Rows * width);
        plan.X = x.Address;
        team.Run(&ShareRows, &plan, plan.Groups);
        team.Run(&ShareBlocks, &plan, plan.Blocks);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void ShareRows(void* argument, int group, int groups)
    {
        ref Plan plan = ref *(Plan*)argument;
        ref Product p = ref plan.Product;
        int first = plan.First(group);
        XLanes.Rows(p.X + (long)first * p.Inputs, plan.First(group + 1) - first, p.Inputs, TElement.SplitsEvenOdd,
            plan.X + (long)first * p.Steps * Product.Step);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void ShareBlocks(void* argument, int block, int blocks)
    {
        ref Plan plan = ref *(Plan*)argument;
        ref Product p = ref plan.Product;
        int first = block * plan.BlockPanels * PanelOutputs;
        int panels = Math.Min(plan.BlockPanels, (p.Outputs - first + PanelOutputs - 1) / PanelOutputs);
        long panel = (long)p.Steps * Product.Step * PanelOutputs;
        using Scratch weights = new(panels * panel);
        using Scratch sums = new((long)panels * 2 * TileRows * PanelOutputs * 16);
        for (int i = 0; i < panels; i++)
        {
            Pack(p, first + i * PanelOutputs, weights.Address + i * panel);
        }
        for (int group = 0; group < plan.Groups; group++)
        {
            int row = plan.First(group);
            switch (plan.First(group + 1) - row)
            {
                case 1:
                    Rows<One>(plan, row, first, panels, weights.Address, sums.Address);
                    break;
                case 2:
                    Rows<Two>(plan, row, first, panels, weights.Address, sums.Address);
                    break;
                case 3:
                    Rows<Three>(plan, row, first, panels, weights.Address, sums.Address);
                    break;
                case 4:
                    Rows<Four>(plan, row, first, panels, weights.Address, sums.Address);
                    break;
                case 5:
                    Rows<Five>(plan, row, first, panels, weights.Address, sums.Address);
                    break;
                default:
                    Rows<Six>(plan, row, first, panels, weights.Address, sums.Address);
                    break;
            }
        }
    }

    // Four weight rows, widened: [group][step][output][16]; outputs that are not there are zeros.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Pack(in Product p, int output, float* panel)
    {
        long group = (long)p.Steps * PanelOutputs * 16;
        T* padded = stackalloc T[Product.Step];
        for (int i = 0; i < PanelOutputs; i++)
        {
            T* w = (T*)p.Weight + (long)(output + i) * p.Inputs;
            float* to = panel + i * 16;
            int step = 0;
            for (; output + i < p.Outputs && (step + 1) * Product.Step <= p.Inputs; step++, w += Product.Step, to += PanelOutputs * 16)
            {
                TLanes.Store(TElement.First<TLanes>(w), to);
                TLanes.Store(TElement.Second<TLanes>(w), to + group);
            }
            for (; step < p.Steps; step++, to += PanelOutputs * 16)
            {
                new Span<T>(padded, Product.Step).Clear();
                if (output + i < p.Outputs)
                {
                    new ReadOnlySpan<T>(w, p.Inputs - step * Product.Step).CopyTo(new Span<T>(padded, Product.Step));
                }
                TLanes.Store(TElement.First<TLanes>(padded), to);
                TLanes.Store(TElement.Second<TLanes>(padded), to + group);
            }
        }
    }

    // One group of rows against a block of weights.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Rows<TRows>(in Plan plan, int row, int output, int panels, float* weights, float* sums)
        where TRows : struct, ICount
    {
        ref readonly Product p = ref plan.Product;
        int steps = p.Steps, tile = TRows.Value * PanelOutputs * 16;
        long panel = (long)steps * Product.Step * PanelOutputs;
        float* x = plan.X + (long)row * steps * Product.Step;
        int pieces = (steps + BlockSteps - 1) / BlockSteps;
        // The next rows are fetched into the L2 cache meanwhile, some lines for each tile.
        float* ahead = x + (long)TRows.Value * steps * Product.Step, aheadEnd = plan.X + (long)p.Rows * steps * Product.Step;
        int lines = (TRows.Value * steps * 2 + 2 * pieces * panels - 1) / (2 * pieces * panels);
        for (int group = 0; group < 2; group++)
        {
            for (int piece = 0; piece < pieces; piece++)
            {
                int from = steps * piece / pieces, count = steps * (piece + 1) / pieces - from;
                float* xs = x + ((long)group * steps + from) * TRows.Value * 16;
                for (int i = 0; i < panels; i++)
                {
                    float* ws = weights + i * panel + ((long)group * steps + from) * PanelOutputs * 16;
                    for (int line = 0; Sse.IsSupported && line < lines && ahead < aheadEnd; line++, ahead += 16)
                    {
                        Sse.Prefetch1(ahead);
                    }
                    for (int lane = 0; lane < 16; lane += TRegister.Width)
                    {
                        Tile<TRows>(xs + lane, ws + lane, count, sums + (2 * i + group) * tile + lane, piece > 0);
                    }
                }
            }
        }
        for (int i = 0; i < panels; i++)
        {
            int outputs = Math.Min(PanelOutputs, p.Outputs - output - i * PanelOutputs);
            for (int r = 0; r < TRows.Value; r++)
            {
                float* even = sums + 2 * i * tile + r * PanelOutputs * 16, odd = even + tile;
                Vector128<float> four = TLanes.Sum4(
                    TLanes.Add(TLanes.Load(even), TLanes.Load(odd)),
                    TLanes.Add(TLanes.Load(even + 16), TLanes.Load(odd + 16)),
                    TLanes.Add(TLanes.Load(even + 32), TLanes.Load(odd + 32)),
                    TLanes.Add(TLanes.Load(even + 48), TLanes.Load(odd + 48)));
                p.Put4(row + r, output + i * PanelOutputs, four, outputs);
            }
        }
    }


    // sums[row][output] (+)= Σ over steps of x[step][row] * w[step][output], one register of lanes.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Tile<TRows>(float* x, float* w, int steps, float* sums, bool carryOn) where TRows : struct, ICount
    {
        TRegister a00 = default, a01 = default, a02 = default, a03 = default;
        TRegister a10 = default, a11 = default, a12 = default, a13 = default;
        TRegister a20 = default, a21 = default, a22 = default, a23 = default;
        TRegister a30 = default, a31 = default, a32 = default, a33 = default;
        TRegister a40 = default, a41 = default, a42 = default, a43 = default;
        TRegister a50 = default, a51 = default, a52 = default, a53 = default;
        if (carryOn)
        {
            a00 = TRegister.Load(sums + 0);
            a01 = TRegister.Load(sums + 16);
            a02 = TRegister.Load(sums + 32);
            a03 = TRegister.Load(sums + 48);
            if (TRows.Value > 1)
            {
                a10 = TRegister.Load(sums + 64);
                a11 = TRegister.Load(sums + 80);
                a12 = TRegister.Load(sums + 96);
                a13 = TRegister.Load(sums + 112);
            }
            if (TRows.Value > 2)
            {
                a20 = TRegister.Load(sums + 128);
                a21 = TRegister.Load(sums + 144);
                a22 = TRegister.Load(sums + 160);
                a23 = TRegister.Load(sums + 176);
            }
            if (TRows.Value > 3)
            {
                a30 = TRegister.Load(sums + 192);
                a31 = TRegister.Load(sums + 208);
                a32 = TRegister.Load(sums + 224);
                a33 = TRegister.Load(sums + 240);
            }
            if (TRows.Value > 4)
            {
                a40 = TRegister.Load(sums + 256);
                a41 = TRegister.Load(sums + 272);
                a42 = TRegister.Load(sums + 288);
                a43 = TRegister.Load(sums + 304);
            }
            if (TRows.Value > 5)
            {
                a50 = TRegister.Load(sums + 320);
                a51 = TRegister.Load(sums + 336);
                a52 = TRegister.Load(sums + 352);
                a53 = TRegister.Load(sums + 368);
            }
        }
        for (float* end = w + (long)steps * PanelOutputs * 16; w < end; w += PanelOutputs * 16, x += TRows.Value * 16)
        {
            TRegister w0 = TRegister.Load(w), w1 = TRegister.Load(w + 16), w2 = TRegister.Load(w + 32), w3 = TRegister.Load(w + 48);
            TRegister x0 = TRegister.Load(x);
            a00 = TRegister.Fma(x0, w0, a00);
            a01 = TRegister.Fma(x0, w1, a01);
            a02 = TRegister.Fma(x0, w2, a02);
            a03 = TRegister.Fma(x0, w3, a03);
            if (TRows.Value > 1)
            {
                TRegister x1 = TRegister.Load(x + 16);
                a10 = TRegister.Fma(x1, w0, a10);
                a11 = TRegister.Fma(x1, w1, a11);
                a12 = TRegister.Fma(x1, w2, a12);
                a13 = TRegister.Fma(x1, w3, a13);
            }
            if (TRows.Value > 2)
            {
                TRegister x2 = TRegister.Load(x + 32);
                a20 = TRegister.Fma(x2, w0, a20);
                a21 = TRegister.Fma(x2, w1, a21);
                a22 = TRegister.Fma(x2, w2, a22);
                a23 = TRegister.Fma(x2, w3, a23);
            }
            if (TRows.Value > 3)
            {
                TRegister x3 = TRegister.Load(x + 48);
                a30 = TRegister.Fma(x3, w0, a30);
                a31 = TRegister.Fma(x3, w1, a31);
                a32 = TRegister.Fma(x3, w2, a32);
                a33 = TRegister.Fma(x3, w3, a33);
            }
            if (TRows.Value > 4)
            {
                TRegister x4 = TRegister.Load(x + 64);
                a40 = TRegister.Fma(x4, w0, a40);
                a41 = TRegister.Fma(x4, w1, a41);
                a42 = TRegister.Fma(x4, w2, a42);
                a43 = TRegister.Fma(x4, w3, a43);
            }
            if (TRows.Value > 5)
            {
                TRegister x5 = TRegister.Load(x + 80);
                a50 = TRegister.Fma(x5, w0, a50);
                a51 = TRegister.Fma(x5, w1, a51);
                a52 = TRegister.Fma(x5, w2, a52);
                a53 = TRegister.Fma(x5, w3, a53);
            }
        }
        TRegister.Store(a00, sums + 0);
        TRegister.Store(a01, sums + 16);
        TRegister.Store(a02, sums + 32);
        TRegister.Store(a03, sums + 48);
        if (TRows.Value > 1)
        {
            TRegister.Store(a10, sums + 64);
            TRegister.Store(a11, sums + 80);
            TRegister.Store(a12, sums + 96);
            TRegister.Store(a13, sums + 112);
        }
        if (TRows.Value > 2)
        {
            TRegister.Store(a20, sums + 128);
            TRegister.Store(a21, sums + 144);
            TRegister.Store(a22, sums + 160);
            TRegister.Store(a23, sums + 176);
        }
        if (TRows.Value > 3)
        {
            TRegister.Store(a30, sums + 192);
            TRegister.Store(a31, sums + 208);
            TRegister.Store(a32, sums + 224);
            TRegister.Store(a33, sums + 240);
        }
        if (TRows.Value > 4)
        {
            TRegister.Store(a40, sums + 256);
            TRegister.Store(a41, sums + 272);
            TRegister.Store(a42, sums + 288);
            TRegister.Store(a43, sums + 304);
        }
        if (TRows.Value > 5)
        {
            TRegister.Store(a50, sums + 320);
            TRegister.Store(a51, sums + 336);
            TRegister.Store(a52, sums + 352);
            TRegister.Store(a53, sums + 368);
        }
    }
}
