using KvCuda.Backends.Cpu.Amx;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>The kernels made of one instruction set.</summary>
internal abstract class CpuKernels
{
    /// <summary>Below this many products, waking the team costs more than the work.</summary>
    public const long WorthSharing = 64 * 1024;

    public static CpuKernels Of(InstructionSet set) => set switch
    {
        InstructionSet.Amx => new AmxKernels(),
        InstructionSet.Avx512 => new CpuKernels<Lanes512, Lanes512, Int8Sums512>(),
        InstructionSet.Avx2 => new CpuKernels<Lanes256, Register256, Int8Sums256>(),
        _ => new CpuKernels<Lanes128, Register128, Int8Sums128>(),
    };

    /// <summary>y (+)= x · weightᵀ (+ bias).</summary>
    public abstract void MatMul(ThreadTeam team, Product product, WeightFormat format);

    /// <summary>Several products with the same x, their weights of one format.</summary>
    public virtual void MatMul(ThreadTeam team, in ProductSet products, WeightFormat format)
    {
        for (int i = 0; i < products.Count; i++)
        {
            MatMul(team, products[i], format);
        }
    }

    /// <summary>y = softmax(scale * q · Kᵀ) · V over what each row sees.</summary>
    public abstract void Attend(ThreadTeam team, Attention attention);

    /// <summary>The verbs that look at one row at a time.</summary>
    public abstract RowVerbs Rows { get; }
}

/// <summary>AVX-512, and what AMX does better.</summary>
internal sealed class AmxKernels : CpuKernels
{
    readonly CpuKernels<Lanes512, Lanes512, Int8Sums512> others = new();

    public override void MatMul(ThreadTeam team, Product product, WeightFormat format)
    {
        ProductSet one = default;
        one.Add(product);
        MatMul(team, one, format);
    }

    public override void MatMul(ThreadTeam team, in ProductSet products, WeightFormat format)
    {
        if (format == WeightFormat.Int8)
        {
            // By the rows: the bits are the same either way.
            if (products[0].Rows >= Int8TileCode.FewestRows && Int8TileCode.Instance is not null)
            {
                Int8Kernel<Int8TileRows>.Run(team, products);
            }
            else
            {
                others.MatMul(team, products, format);
            }
            return;
        }
        // By the matrix alone, never by the rows: a row's bits do not depend on how many there are.
        ProductSet onTiles = default;
        for (int i = 0; i < products.Count; i++)
        {
            Product product = products[i];
            if (format == WeightFormat.BF16 && TileProduct.Takes(product.Inputs, product.Outputs))
            {
                onTiles.Add(product);
            }
            else
            {
                others.MatMul(team, product, format);
            }
        }
        if (onTiles.Count > 0)
        {
            TileProduct.Run(team, onTiles);
        }
    }

    public override void Attend(ThreadTeam team, Attention attention) => others.Attend(team, attention);

    public override RowVerbs Rows => others.Rows;
}

/// <inheritdoc/>
/// <typeparam name="TLanes">sixteen lanes</typeparam>
/// <typeparam name="TRegister">one register of it</typeparam>
/// <typeparam name="TSums">products of integers, for as many outputs as such a register has lanes</typeparam>
internal sealed unsafe class CpuKernels<TLanes, TRegister, TSums> : CpuKernels
    where TLanes : struct, ILanes<TLanes> where TRegister : struct, IRegister<TRegister> where TSums : struct, IInt8Sums<TSums, TRegister>
{
    // A share of weights: some microseconds of reading.
    const long ShareBytes = 128 * 1024;

    public override void MatMul(ThreadTeam team, Product product, WeightFormat format)
    {
        if (format == WeightFormat.Int8)
        {
            ProductSet one = default;
            one.Add(product);
            MatMul(team, one, format);
            return;
        }
        switch (format.Element)
        {
            case DType.F32:
                MatMul<float, F32Element>(team, product);
                break;
            case DType.BF16:
                MatMul<ushort, BF16Element>(team, product);
                break;
            default:
                MatMul<Half, F16Element>(team, product);
                break;
        }
    }

    public override void MatMul(ThreadTeam team, in ProductSet products, WeightFormat format)
    {
        if (format == WeightFormat.Int8)
        {
            Int8Kernel<Int8VectorTile<TSums, TRegister>>.Run(team, products);
        }
        else
        {
            base.MatMul(team, products, format);
        }
    }

    static void MatMul<T, TElement>(ThreadTeam team, Product product) where T : unmanaged where TElement : IElement<T>
    {
        if (product.Rows > MatvecKernel<TLanes, T, TElement>.MaxRows)
        {
            GemmKernel<TLanes, TRegister, T, TElement>.Run(team, product);
            return;
        }
        int width = product.Steps * Product.Step;
        using Scratch lanes = new(product.Rows * width);
        product.Lanes = lanes.Address;
        for (int row = 0; row < product.Rows; row++)
        {
            XLanes.Row(product.X + (long)row * product.Inputs, product.Inputs, TElement.SplitsEvenOdd, lanes.Address + row * width);
        }
        long weights = (long)product.Inputs * product.Outputs;
        int shares = (int)Math.Clamp(weights * sizeof(T) / ShareBytes, 4 * team.Members, 64 * team.Members);
        team.Run(&MatvecKernel<TLanes, T, TElement>.Share, &product, shares, alone: product.Rows * weights < WorthSharing);
    }

    public override void Attend(ThreadTeam team, Attention attention)
    {
        using Scratch memory = new(attention.Rows + 1);
        long work = attention.Cut((int*)memory.Address);
        delegate*<void*, int, int, void> share = attention.Kv.Type switch
        {
            DType.F32 => &AttentionKernel<TLanes, float, F32Element>.Share,
            DType.BF16 => &AttentionKernel<TLanes, ushort, BF16Element>.Share,
            _ => &AttentionKernel<TLanes, Half, F16Element>.Share,
        };
        team.Run(share, &attention, attention.TileCount * attention.Kv.KvHeads, alone: work < WorthSharing);
    }

    public override RowVerbs Rows { get; } = RowVerbs.Of<TLanes>();
}
