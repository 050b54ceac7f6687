using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Verbs that look at one row at a time, those that only move or turn numbers; <see cref="RowKernels{TLanes}"/> has the others.
/// Every row is handled whole by one thread, so its bits never depend on its neighbours.
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

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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

    /// <summary>The index of a row of a table.</summary>
    public static int Checked(int index, int limit) => index < limit
        ? index
        : throw new ArgumentOutOfRangeException(nameof(index), $"Row {index} was asked of a table of {limit} rows.");
}
