using System.Runtime.CompilerServices;
using KvCuda.Tensors;
using static KvCuda.Backends.Cpu.RowKernels;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Verbs that compute with one row at a time, in sixteen lanes, so that every instruction set gives the same bits. A sum over a row
/// is the sum over lanes of two chains, as in a product: 32 numbers a step, the first sixteen to one and the last to the other,
/// steps ascending, and what is left of the row padded with zeros.
///
/// note: compiled with full optimisation at once. Vectors in unoptimised code are so slow that they would be half of the time to
/// a model's first token.
/// </summary>
internal static unsafe class RowKernels<TLanes> where TLanes : struct, ILanes<TLanes>
{
    const int Width = 16;

    // y = a row of the table, or zeros
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Embed(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        for (int row = start; row < end; row++)
        {
            float* y = a.Y + (long)row * a.Columns;
            int index = Checked(a.Index[row], a.Limit);
            if (index < 0)
            {
                new Span<float>(y, a.Columns).Clear();
                continue;
            }
            void* source = Element(a.Weight, a.Type, (long)index * a.Columns);
            for (int i = 0; i < a.Columns; i += Width)
            {
                Store(Load(source, a.Type, i, a.Columns), y, i, a.Columns);
            }
        }
    }

    // y += a row of the table, if any
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void EmbedAdd(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        for (int row = start; row < end; row++)
        {
            float* y = a.Y + (long)row * a.Columns;
            int index = Checked(a.Index[row], a.Limit);
            void* source = Element(a.Weight, a.Type, (long)Math.Max(index, 0) * a.Columns);
            for (int i = 0; index >= 0 && i < a.Columns; i += Width)
            {
                Store(TLanes.Add(Load(y, i, a.Columns), Load(source, a.Type, i, a.Columns)), y, i, a.Columns);
            }
        }
    }

    // y = x / rms(x) * weight
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RmsNorm(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        for (int row = start; row < end; row++)
        {
            float* x = a.X + (long)row * a.Columns, y = a.Y + (long)row * a.Columns;
            TLanes factor = TLanes.All(1 / MathF.Sqrt(SumOfSquares(x, a.Columns, 0) / a.Columns + a.Epsilon));
            for (int i = 0; i < a.Columns; i += Width)
            {
                TLanes scaled = TLanes.Multiply(Load(x, i, a.Columns), factor);
                Store(TLanes.Multiply(scaled, Load(a.Weight, a.Type, i, a.Columns)), y, i, a.Columns);
            }
        }
    }

    // y = (x - mean) / deviation * weight + bias
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void LayerNorm(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        for (int row = start; row < end; row++)
        {
            float* x = a.X + (long)row * a.Columns, y = a.Y + (long)row * a.Columns;
            float mean = Sum(x, a.Columns) / a.Columns;
            TLanes less = TLanes.All(-mean);
            TLanes factor = TLanes.All(1 / MathF.Sqrt(SumOfSquares(x, a.Columns, mean) / a.Columns + a.Epsilon));
            for (int i = 0; i < a.Columns; i += Width)
            {
                TLanes scaled = TLanes.Multiply(TLanes.Add(Load(x, i, a.Columns), less), factor);
                Store(TLanes.Fma(scaled, Load(a.Weight, a.Type, i, a.Columns), Load(a.Bias, a.BiasType, i, a.Columns)), y, i, a.Columns);
            }
        }
    }

    // y = activation(x) * x2
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Gate(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        for (int row = start; row < end; row++)
        {
            long at = (long)row * a.Columns;
            for (int i = 0; i < a.Columns; i += Width)
            {
                TLanes activated = Activated(Load(a.X + at, i, a.Columns), a.Activation);
                Store(TLanes.Multiply(activated, Load(a.X2 + at, i, a.Columns)), a.Y + at, i, a.Columns);
            }
        }
    }

    // y = activation(y)
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Activate(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        for (int row = start; row < end; row++)
        {
            float* y = a.Y + (long)row * a.Columns;
            for (int i = 0; i < a.Columns; i += Width)
            {
                Store(Activated(Load(y, i, a.Columns), a.Activation), y, i, a.Columns);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TLanes Activated(TLanes x, Activation activation)
    {
        switch (activation)
        {
            case Activation.Silu:
                return TLanes.Multiply(x, LaneMath.Sigmoid(x));
            case Activation.GeluTanh:
                // 0.5 (1 + tanh(z)) = sigmoid(2 z) with z = sqrt(2/π) (x + 0.044715 x³)
                const float twiceRootTwoOverPi = 1.5957691216057308f;
                TLanes z = TLanes.Fma(TLanes.Multiply(x, x), TLanes.All(0.044715f * twiceRootTwoOverPi), TLanes.All(twiceRootTwoOverPi));
                return TLanes.Multiply(x, LaneMath.Sigmoid(TLanes.Multiply(z, x)));
            case Activation.Gelu:
                return Gelu(x);
            default:
                return TLanes.Max(x, TLanes.All(0));
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static TLanes Gelu(TLanes x)
    {
        float* numbers = stackalloc float[Width];
        TLanes.Store(x, numbers);
        for (int i = 0; i < Width; i++)
        {
            numbers[i] = (float)(0.5 * numbers[i] * (1 + Erf(numbers[i] * 0.70710678118654752)));
        }
        return TLanes.Load(numbers);
    }

    // Erf by its Maclaurin series or the continued fraction of erfc: full double precision, and rare enough to be slow. NaN of NaN.
    static double Erf(double x)
    {
        double magnitude = Math.Abs(x);
        if (magnitude > 6)
        {
            return Math.CopySign(1, x);
        }
        if (magnitude < 2.5)
        {
            double term = x, sum = x;
            for (int n = 1; Math.Abs(term) > 1e-17 * Math.Abs(sum); n++)
            {
                term *= -x * x / n;
                sum += term / (2 * n + 1);
            }
            return 1.1283791670955126 * sum;
        }
        double fraction = 0;
        for (int n = 60; n >= 1; n--)
        {
            fraction = n / 2.0 / (magnitude + fraction);
        }
        return Math.CopySign(1, x) * (1 - Math.Exp(-x * x) * 0.56418958354775629 / (magnitude + fraction));
    }

    // Σ (x - mean)²
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static float SumOfSquares(float* x, int count, float mean)
    {
        TLanes less = TLanes.All(-mean), first = default, second = default;
        int i = 0;
        for (; i + 2 * Width <= count; i += 2 * Width)
        {
            TLanes a = TLanes.Add(TLanes.Load(x + i), less), b = TLanes.Add(TLanes.Load(x + i + Width), less);
            first = TLanes.Fma(a, a, first);
            second = TLanes.Fma(b, b, second);
        }
        if (i < count)
        {
            float* rest = stackalloc float[2 * Width];
            new Span<float>(rest, 2 * Width).Fill(mean);
            new ReadOnlySpan<float>(x + i, count - i).CopyTo(new Span<float>(rest, 2 * Width));
            TLanes a = TLanes.Add(TLanes.Load(rest), less), b = TLanes.Add(TLanes.Load(rest + Width), less);
            first = TLanes.Fma(a, a, first);
            second = TLanes.Fma(b, b, second);
        }
        return TLanes.Sum(TLanes.Add(first, second));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static float Sum(float* x, int count)
    {
        TLanes first = default, second = default;
        for (int i = 0; i < count; i += 2 * Width)
        {
            first = TLanes.Add(first, Load(x, i, count));
            second = i + Width < count ? TLanes.Add(second, Load(x, i + Width, count)) : second;
        }
        return TLanes.Sum(TLanes.Add(first, second));
    }

    static void* Element(void* source, DType type, long index) => (byte*)source + index * type.Bytes();

    // Numbers i to i + 15 of count, as f32; zeros past the end.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TLanes Load(void* source, DType type, int i, int count)
    {
        if (i + Width > count)
        {
            return Rest(source, type, i, count);
        }
        return type switch
        {
            DType.F32 => TLanes.Load((float*)source + i),
            DType.BF16 => TLanes.LoadBF16((ushort*)source + i),
            _ => TLanes.LoadF16((Half*)source + i),
        };
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TLanes Load(float* source, int i, int count) =>
        i + Width > count ? Rest(source, DType.F32, i, count) : TLanes.Load(source + i);

    [MethodImpl(MethodImplOptions.NoInlining)]
    static TLanes Rest(void* source, DType type, int i, int count)
    {
        byte* rest = stackalloc byte[Width * sizeof(float)];
        new Span<byte>(rest, Width * sizeof(float)).Clear();
        new ReadOnlySpan<byte>(Element(source, type, i), (count - i) * type.Bytes()).CopyTo(new Span<byte>(rest, Width * sizeof(float)));
        return Load(rest, type, 0, Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Store(TLanes value, float* y, int i, int count)
    {
        if (i + Width <= count)
        {
            TLanes.Store(value, y + i);
        }
        else
        {
            StoreRest(value, y, i, count);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void StoreRest(TLanes value, float* y, int i, int count)
    {
        float* rest = stackalloc float[Width];
        TLanes.Store(value, rest);
        new ReadOnlySpan<float>(rest, count - i).CopyTo(new Span<float>(y + i, count - i));
    }
}

/// <summary>What <see cref="Run"/> runs, of one instruction set.</summary>
internal readonly unsafe struct RowVerbs
{
    public delegate*<void*, int, int, void> Embed { get; private init; }

    public delegate*<void*, int, int, void> EmbedAdd { get; private init; }

    public delegate*<void*, int, int, void> RmsNorm { get; private init; }

    public delegate*<void*, int, int, void> LayerNorm { get; private init; }

    public delegate*<void*, int, int, void> Gate { get; private init; }

    public delegate*<void*, int, int, void> Activate { get; private init; }

    public static RowVerbs Of<TLanes>() where TLanes : struct, ILanes<TLanes> => new()
    {
        Embed = &RowKernels<TLanes>.Embed, EmbedAdd = &RowKernels<TLanes>.EmbedAdd, RmsNorm = &RowKernels<TLanes>.RmsNorm,
        LayerNorm = &RowKernels<TLanes>.LayerNorm, Gate = &RowKernels<TLanes>.Gate, Activate = &RowKernels<TLanes>.Activate,
    };
}
