using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// y[r,o] (+)= x[r,:] · w[o,:] (+ bias[o]).
///
/// Reduction order (numerics class "consistent"): input k goes to lane k mod 32 of four 8-lane accumulators by one fused
/// multiply-add, k ascending; then (a0 + a1) + (a2 + a3), then the lanes by halving. One weight row meets three rows of x at
/// a time (12 accumulators of the 16 registers AVX2 has), because a weight is then widened to f32 once for three uses.
/// A row's bits depend neither on its neighbours nor on the instruction set.
/// </summary>
internal static unsafe class MatMulKernel
{
    const int Lanes = 32;

    // Rows of x that stay in the L2 cache while the member's weights pass by: 32 x 2048 inputs x 4 bytes = 256 KiB.
    const int BlockBytes = 256 * 1024;

    // Below this many products, waking the team costs more than the work.
    const long WorthSharing = 64 * 1024;

    internal struct Arguments
    {
        public float* Y;      // (rows, outputs)
        public float* X;      // (rows, inputs)
        public void* Weight;  // (outputs, inputs)
        public void* Bias;    // (outputs), or null
        public int Rows, Inputs, Outputs;
        public DType BiasType;
        public bool Accumulate;
    }

    public static void Run(ThreadTeam team, Arguments arguments, DType weightType)
    {
        delegate*<void*, int, int, void> body = weightType switch
        {
            DType.F32 => &Share<float, F32Element>,
            DType.BF16 => &Share<ushort, BF16Element>,
            _ => &Share<Half, F16Element>,
        };
        if ((long)arguments.Rows * arguments.Inputs * arguments.Outputs < WorthSharing)
        {
            body(&arguments, 0, 1);
        }
        else
        {
            team.Run(body, &arguments);
        }
    }

    // Optimised at once: the first call of a tiered method would run a whole prompt in its unoptimised form.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Share<T, TElement>(void* argument, int member, int members)
        where T : unmanaged where TElement : IElement<T>
    {
        ref Arguments a = ref *(Arguments*)argument;
        (int start, int end) = ThreadTeam.Share(a.Outputs, member, members);
        int block = Math.Max(3, BlockBytes / (a.Inputs * sizeof(float)) / 3 * 3);
        for (int first = 0; first < a.Rows; first += block)
        {
            int last = Math.Min(a.Rows, first + block);
            for (int output = start; output < end; output++)
            {
                T* weight = (T*)a.Weight + (long)output * a.Inputs;
                float bias = a.Bias == null ? 0 : LoadBias(a, output);
                int row = first;
                for (; row + 3 <= last; row += 3)
                {
                    Three<T, TElement>(a, row, output, weight, bias);
                }
                for (; row < last; row++)
                {
                    Put(a, row, output, Dot<T, TElement>(a.X + (long)row * a.Inputs, weight, a.Inputs), bias);
                }
            }
        }
    }

    static float LoadBias(in Arguments a, int output) => a.BiasType switch
    {
        DType.F32 => ((float*)a.Bias)[output],
        DType.BF16 => BF16.ToSingle(((ushort*)a.Bias)[output]),
        _ => (float)((Half*)a.Bias)[output],
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Put(in Arguments a, int row, int output, float dot, float bias)
    {
        float* y = a.Y + (long)row * a.Outputs + output;
        float value = dot + bias;
        *y = a.Accumulate ? *y + value : value;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Three<T, TElement>(in Arguments a, int row, int output, T* weight, float bias)
        where T : unmanaged where TElement : IElement<T>
    {
        int inputs = a.Inputs;
        float* x0 = a.X + (long)row * inputs, x1 = x0 + inputs, x2 = x1 + inputs;
        Vector256<float> a00 = default, a01 = default, a02 = default, a03 = default;
        Vector256<float> a10 = default, a11 = default, a12 = default, a13 = default;
        Vector256<float> a20 = default, a21 = default, a22 = default, a23 = default;
        int k = 0;
        for (; k + Lanes <= inputs; k += Lanes)
        {
            Vector256<float> w = TElement.Load8(weight + k);
            a00 = Vector256.FusedMultiplyAdd(Vector256.Load(x0 + k), w, a00);
            a10 = Vector256.FusedMultiplyAdd(Vector256.Load(x1 + k), w, a10);
            a20 = Vector256.FusedMultiplyAdd(Vector256.Load(x2 + k), w, a20);
            w = TElement.Load8(weight + k + 8);
            a01 = Vector256.FusedMultiplyAdd(Vector256.Load(x0 + k + 8), w, a01);
            a11 = Vector256.FusedMultiplyAdd(Vector256.Load(x1 + k + 8), w, a11);
            a21 = Vector256.FusedMultiplyAdd(Vector256.Load(x2 + k + 8), w, a21);
            w = TElement.Load8(weight + k + 16);
            a02 = Vector256.FusedMultiplyAdd(Vector256.Load(x0 + k + 16), w, a02);
            a12 = Vector256.FusedMultiplyAdd(Vector256.Load(x1 + k + 16), w, a12);
            a22 = Vector256.FusedMultiplyAdd(Vector256.Load(x2 + k + 16), w, a22);
            w = TElement.Load8(weight + k + 24);
            a03 = Vector256.FusedMultiplyAdd(Vector256.Load(x0 + k + 24), w, a03);
            a13 = Vector256.FusedMultiplyAdd(Vector256.Load(x1 + k + 24), w, a13);
            a23 = Vector256.FusedMultiplyAdd(Vector256.Load(x2 + k + 24), w, a23);
        }
        if (k < inputs)
        {
            T* w = stackalloc T[Lanes];
            float* x = stackalloc float[Lanes];
            Pad(weight + k, inputs - k, w);
            Pad(x0 + k, inputs - k, x);
            Step<T, TElement>(ref a00, ref a01, ref a02, ref a03, x, w);
            Pad(x1 + k, inputs - k, x);
            Step<T, TElement>(ref a10, ref a11, ref a12, ref a13, x, w);
            Pad(x2 + k, inputs - k, x);
            Step<T, TElement>(ref a20, ref a21, ref a22, ref a23, x, w);
        }
        Put(a, row, output, Sum(a00, a01, a02, a03), bias);
        Put(a, row + 1, output, Sum(a10, a11, a12, a13), bias);
        Put(a, row + 2, output, Sum(a20, a21, a22, a23), bias);
    }

    /// <summary>x · w over <paramref name="inputs"/> numbers, in the order of this class.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Dot<T, TElement>(float* x, T* weight, int inputs)
        where T : unmanaged where TElement : IElement<T>
    {
        Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default;
        int k = 0;
        for (; k + Lanes <= inputs; k += Lanes)
        {
            Step<T, TElement>(ref a0, ref a1, ref a2, ref a3, x + k, weight + k);
        }
        if (k < inputs)
        {
            T* paddedWeight = stackalloc T[Lanes];
            float* paddedX = stackalloc float[Lanes];
            Pad(weight + k, inputs - k, paddedWeight);
            Pad(x + k, inputs - k, paddedX);
            Step<T, TElement>(ref a0, ref a1, ref a2, ref a3, paddedX, paddedWeight);
        }
        return Sum(a0, a1, a2, a3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Step<T, TElement>(ref Vector256<float> a0, ref Vector256<float> a1, ref Vector256<float> a2,
        ref Vector256<float> a3, float* x, T* weight) where T : unmanaged where TElement : IElement<T>
    {
        a0 = Vector256.FusedMultiplyAdd(Vector256.Load(x), TElement.Load8(weight), a0);
        a1 = Vector256.FusedMultiplyAdd(Vector256.Load(x + 8), TElement.Load8(weight + 8), a1);
        a2 = Vector256.FusedMultiplyAdd(Vector256.Load(x + 16), TElement.Load8(weight + 16), a2);
        a3 = Vector256.FusedMultiplyAdd(Vector256.Load(x + 24), TElement.Load8(weight + 24), a3);
    }

    // The last inputs mod 32 numbers, padded with zeros, take the same step as all others.
    static void Pad<T>(T* source, int count, T* padded) where T : unmanaged
    {
        new Span<T>(padded, Lanes).Clear();
        new ReadOnlySpan<T>(source, count).CopyTo(new Span<T>(padded, Lanes));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static float Sum(Vector256<float> a0, Vector256<float> a1, Vector256<float> a2, Vector256<float> a3)
    {
        Vector256<float> eight = (a0 + a1) + (a2 + a3);
        Vector128<float> four = eight.GetLower() + eight.GetUpper();
        return (four[0] + four[2]) + (four[1] + four[3]);
    }
}
