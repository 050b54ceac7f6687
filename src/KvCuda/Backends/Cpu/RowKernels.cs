using System.Numerics.Tensors;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Verbs that look at one row at a time. Every row is handled whole by one thread and with the same spans whatever else
/// is in the call, so its bits never depend on its neighbours.
/// </summary>
internal static unsafe class RowKernels
{
    internal struct Arguments
    {
        public float* Y, X, X2;
        public void* Weight, Bias;
        public int* Index;
        public DType Type, BiasType;
        public int Rows, Columns, Limit, HeadDim, Pairs;
        public float Epsilon;
        public Activation Activation;
    }

    /// <summary>Below this many numbers, waking the team costs more than the work.</summary>
    public const int WorthSharing = 16 * 1024;

    public static void Run(ThreadTeam team, delegate*<void*, int, int, void> body, Arguments arguments)
    {
        team.Run(body, &arguments, 4 * team.Members, alone: (long)arguments.Rows * arguments.Columns < WorthSharing);
    }

    public static void Embed(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        for (int row = start; row < end; row++)
        {
            Span<float> y = new(a.Y + (long)row * a.Columns, a.Columns);
            int index = Checked(a.Index[row], a.Limit);
            if (index < 0)
            {
                y.Clear();
            }
            else
            {
                Widen(y, a.Weight, (long)index * a.Columns, a.Type);
            }
        }
    }

    public static void EmbedAdd(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        using Scratch scratch = new(a.Columns);
        for (int row = start; row < end; row++)
        {
            int index = Checked(a.Index[row], a.Limit);
            if (index >= 0)
            {
                Span<float> y = new(a.Y + (long)row * a.Columns, a.Columns);
                Widen(scratch.Span, a.Weight, (long)index * a.Columns, a.Type);
                TensorPrimitives.Add(y, scratch.Span, y);
            }
        }
    }

    public static void Gather(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        for (int row = start; row < end; row++)
        {
            long source = Checked(a.Index[row], a.Limit);
            new ReadOnlySpan<float>(a.X + source * a.Columns, a.Columns)
                .CopyTo(new Span<float>(a.Y + (long)row * a.Columns, a.Columns));
        }
    }

    public static void Scatter(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        for (int row = start; row < end; row++)
        {
            long destination = Checked(a.Index[row], a.Limit);
            new ReadOnlySpan<float>(a.X + (long)row * a.Columns, a.Columns)
                .CopyTo(new Span<float>(a.Y + destination * a.Columns, a.Columns));
        }
    }

    // y = cosines and sines of index * x, times epsilon
    public static void Angles(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        for (int row = start; row < end; row++)
        {
            float* cos = a.Y + (long)row * a.Columns, sin = cos + a.Pairs;
            for (int i = 0; i < a.Pairs; i++)
            {
                (double s, double c) = Math.SinCos(a.Index[row] * (double)a.X[i]);
                cos[i] = (float)c * a.Epsilon;
                sin[i] = (float)s * a.Epsilon;
            }
        }
    }

    // Each head's (y[i], y[i+p]) = (y[i] cos - y[i+p] sin, y[i+p] cos + y[i] sin)
    public static void Rotate(void* argument, int share, int shares)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, share, shares);
        int pairs = a.Pairs;
        for (int row = start; row < end; row++)
        {
            float* cos = a.X + (long)row * 2 * pairs, sin = cos + pairs;
            float* last = a.Y + (long)(row + 1) * a.Columns;
            for (float* low = a.Y + (long)row * a.Columns; low < last; low += a.HeadDim)
            {
                float* high = low + pairs;
                int i = 0;
                for (; i + 8 <= pairs; i += 8)
                {
                    Vector256<float> x = Vector256.Load(low + i), y = Vector256.Load(high + i);
                    Vector256<float> c = Vector256.Load(cos + i), s = Vector256.Load(sin + i);
                    (x * c - y * s).Store(low + i);
                    (y * c + x * s).Store(high + i);
                }
                for (; i < pairs; i++)
                {
                    (low[i], high[i]) = (low[i] * cos[i] - high[i] * sin[i], high[i] * cos[i] + low[i] * sin[i]);
                }
            }
        }
    }

    // y = x / rms(x) * weight
    public static void RmsNorm(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        using Scratch weight = Scratch.Of(a.Weight, a.Columns, a.Type);
        for (int row = start; row < end; row++)
        {
            ReadOnlySpan<float> x = new(a.X + (long)row * a.Columns, a.Columns);
            Span<float> y = new(a.Y + (long)row * a.Columns, a.Columns);
            float meanSquare = TensorPrimitives.SumOfSquares(x) / a.Columns;
            TensorPrimitives.Multiply(x, 1 / MathF.Sqrt(meanSquare + a.Epsilon), y);
            TensorPrimitives.Multiply(y, weight.Span, y);
        }
    }

    // y = (x - mean) / deviation * weight + bias
    public static void LayerNorm(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        using Scratch weight = Scratch.Of(a.Weight, a.Columns, a.Type);
        using Scratch bias = Scratch.Of(a.Bias, a.Columns, a.BiasType);
        for (int row = start; row < end; row++)
        {
            ReadOnlySpan<float> x = new(a.X + (long)row * a.Columns, a.Columns);
            Span<float> y = new(a.Y + (long)row * a.Columns, a.Columns);
            float mean = TensorPrimitives.Sum(x) / a.Columns;
            TensorPrimitives.Subtract(x, mean, y);
            float variance = TensorPrimitives.SumOfSquares<float>(y) / a.Columns;
            TensorPrimitives.Multiply(y, 1 / MathF.Sqrt(variance + a.Epsilon), y);
            TensorPrimitives.MultiplyAdd(y, weight.Span, bias.Span, y);
        }
    }

    // y = activation(x) * x2
    public static void Gate(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        using Scratch scratch = new(a.Columns);
        for (int row = start; row < end; row++)
        {
            ReadOnlySpan<float> gate = new(a.X + (long)row * a.Columns, a.Columns);
            Apply(gate, scratch.Span, a.Activation);
            TensorPrimitives.Multiply(scratch.Span, new ReadOnlySpan<float>(a.X2 + (long)row * a.Columns, a.Columns),
                new Span<float>(a.Y + (long)row * a.Columns, a.Columns));
        }
    }

    // x = activation(x)
    public static void Activate(void* argument, int member, int members)
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Rows, member, members);
        using Scratch scratch = new(a.Columns);
        for (int row = start; row < end; row++)
        {
            Span<float> x = new(a.Y + (long)row * a.Columns, a.Columns);
            Apply(x, scratch.Span, a.Activation);
            scratch.Span.CopyTo(x);
        }
    }

    /// <summary>y = activation(x); y is not x.</summary>
    static void Apply(ReadOnlySpan<float> x, Span<float> y, Activation activation)
    {
        switch (activation)
        {
            case Activation.Silu:
                TensorPrimitives.Sigmoid(x, y);
                TensorPrimitives.Multiply(y, x, y);
                break;
            case Activation.GeluTanh:
                // 0.5 (1 + tanh(z)) = sigmoid(2 z) with z = sqrt(2/π) (x + 0.044715 x³)
                const float twiceRootTwoOverPi = 1.5957691216057308f;
                TensorPrimitives.Multiply(x, x, y);
                TensorPrimitives.Multiply(y, 0.044715f * twiceRootTwoOverPi, y);
                TensorPrimitives.Add(y, twiceRootTwoOverPi, y);
                TensorPrimitives.Multiply(y, x, y);
                TensorPrimitives.Sigmoid(y, y);
                TensorPrimitives.Multiply(y, x, y);
                break;
            case Activation.Gelu:
                for (int i = 0; i < x.Length; i++)
                {
                    y[i] = (float)(0.5 * x[i] * (1 + Erf(x[i] * 0.70710678118654752)));
                }
                break;
            default:
                TensorPrimitives.Max(x, 0f, y);
                break;
        }
    }

    // Erf by its Maclaurin series or the continued fraction of erfc: full double precision, and rare enough to be slow.
    static double Erf(double x)
    {
        double magnitude = Math.Abs(x);
        if (magnitude > 6)
        {
            return Math.Sign(x);
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
        return Math.Sign(x) * (1 - Math.Exp(-x * x) * 0.56418958354775629 / (magnitude + fraction));
    }

    static int Checked(int index, int limit) => index < limit
        ? index
        : throw new ArgumentOutOfRangeException(nameof(index), $"Row {index} was asked of a table of {limit} rows.");

    /// <summary>y = f32 of count = y.Length stored numbers from element <paramref name="first"/> on.</summary>
    public static void Widen(Span<float> y, void* source, long first, DType type)
    {
        switch (type)
        {
            case DType.F32:
                new ReadOnlySpan<float>((float*)source + first, y.Length).CopyTo(y);
                break;
            case DType.BF16:
                ushort* bits = (ushort*)source + first;
                int done = 0;
                for (; done + 8 <= y.Length; done += 8)
                {
                    Vector128<ushort> eight = Vector128.Load(bits + done);
                    Vector256.ShiftLeft(Vector256.Create(Vector128.WidenLower(eight), Vector128.WidenUpper(eight)), 16).AsSingle()
                        .CopyTo(y[done..]);
                }
                for (; done < y.Length; done++)
                {
                    y[done] = BF16.ToSingle(bits[done]);
                }
                break;
            default:
                TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>((Half*)source + first, y.Length), y);
                break;
        }
    }
}
