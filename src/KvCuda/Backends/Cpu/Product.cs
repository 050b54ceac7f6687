using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>A number known to the compiler of a generic method, which then writes code for exactly so many rows.</summary>
internal interface ICount
{
    static abstract int Value { get; }
}

internal readonly struct One : ICount { public static int Value => 1; }

internal readonly struct Two : ICount { public static int Value => 2; }

internal readonly struct Three : ICount { public static int Value => 3; }

internal readonly struct Four : ICount { public static int Value => 4; }

internal readonly struct Five : ICount { public static int Value => 5; }

internal readonly struct Six : ICount { public static int Value => 6; }

internal readonly struct Seven : ICount { public static int Value => 7; }

internal readonly struct Eight : ICount { public static int Value => 8; }

/// <summary>y[r,o] (+)= x[r,:] · weight[o,:] (+ bias[o]): what the matrix kernels are given.</summary>
internal unsafe struct Product
{
    public float* Y;      // (rows, outputs)
    public float* X;      // (rows, inputs)
    public void* Weight;  // (outputs, inputs)
    public void* Bias;    // (outputs), or null
    public float* Lanes;  // x in the lane order of the weights (XLanes)
    public int Rows, Inputs, Outputs;
    public DType BiasType;
    public bool Accumulate;

    /// <summary>Inputs are taken 32 at a time, the last ones padded with zeros.</summary>
    public const int Step = 32;

    public readonly int Steps => (Inputs + Step - 1) / Step;

    /// <summary>Writes a finished sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Put(int row, int output, float sum)
    {
        float* y = Y + (long)row * Outputs + output;
        sum = Bias == null ? sum : sum + BiasOf(output);
        *y = Accumulate ? *y + sum : sum;
    }

    /// <summary>Writes the first <paramref name="outputs"/> of four finished sums.</summary>
    public readonly void Put4(int row, int output, Vector128<float> sums, int outputs)
    {
        if (outputs == 4 && Bias == null)
        {
            float* y = Y + (long)row * Outputs + output;
            (Accumulate ? Vector128.Load(y) + sums : sums).Store(y);
            return;
        }
        for (int i = 0; i < outputs; i++)
        {
            Put(row, output + i, sums[i]);
        }
    }

    /// <summary>Writes eight finished sums.</summary>
    public readonly void Put8(int row, int output, Vector256<float> sums)
    {
        if (Bias == null)
        {
            float* y = Y + (long)row * Outputs + output;
            (Accumulate ? Vector256.Load(y) + sums : sums).Store(y);
            return;
        }
        for (int i = 0; i < 8; i++)
        {
            Put(row, output + i, sums[i]);
        }
    }

    /// <summary>Writes finished sums of some rows, [row][16 outputs], as far as there are outputs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void PutBlock(int row, int rows, int output, float* sums)
    {
        int outputs = Math.Min(16, Outputs - output);
        float* y = Y + (long)row * Outputs + output;
        Vector512<float> bias = default;
        for (int i = 0; Bias != null && i < outputs; i++)
        {
            bias = bias.WithElement(i, BiasOf(output + i));
        }
        for (int r = 0; r < rows; r++, y += Outputs, sums += 16)
        {
            Vector512<float> sum = Vector512.Load(sums);
            sum = Bias == null ? sum : sum + bias;
            if (outputs == 16)
            {
                (Accumulate ? Vector512.Load(y) + sum : sum).Store(y);
                continue;
            }
            for (int i = 0; i < outputs; i++)
            {
                y[i] = Accumulate ? y[i] + sum[i] : sum[i];
            }
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    readonly float BiasOf(int output) => BiasType switch
    {
        DType.F32 => ((float*)Bias)[output],
        DType.BF16 => BF16.ToSingle(((ushort*)Bias)[output]),
        _ => (float)((Half*)Bias)[output],
    };
}

/// <summary>Up to three products with the same x, taken as one: what prepares x and wakes the team is done once.</summary>
internal struct ProductSet
{
    /// <summary>Products that a set has room for.</summary>
    public const int Most = 3;

    Three products;

    [InlineArray(Most)]
    struct Three
    {
        Product first;
    }

    public int Count { get; private set; }

    public readonly Product this[int i] => products[i];

    /// <summary>Adds one; its x, rows and inputs are those of the others.</summary>
    public void Add(in Product product) => products[Count++] = product;
}
