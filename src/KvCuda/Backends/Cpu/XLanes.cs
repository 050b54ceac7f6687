using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Activations in the order in which a weight's lanes meet them: of every 32 inputs two groups of sixteen, either the even
/// and the odd ones (bf16) or the first and the last ones; padded with zeros to whole steps.
/// </summary>
internal static unsafe class XLanes
{
    /// <summary>One row for the matrix-vector kernel: step after step, first group, second group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Row(float* x, int inputs, bool evenOdd, float* destination)
    {
        int step = 0;
        for (; (step + 1) * Product.Step <= inputs; step++)
        {
            Put(x + step * Product.Step, evenOdd, destination + step * Product.Step, destination + step * Product.Step + 16);
        }
        if (step * Product.Step < inputs)
        {
            float* padded = stackalloc float[Product.Step];
            Pad(x, inputs, step, padded);
            Put(padded, evenOdd, destination + step * Product.Step, destination + step * Product.Step + 16);
        }
    }

    /// <summary>A row in lane order back in its own: the inverse of <see cref="Row"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Back(float* lanes, int width, bool evenOdd, float* destination)
    {
        for (int step = 0; step < width; step += Product.Step)
        {
            for (int i = 0; i < 16; i++)
            {
                destination[step + (evenOdd ? 2 * i : i)] = lanes[step + i];
                destination[step + (evenOdd ? 2 * i + 1 : 16 + i)] = lanes[step + 16 + i];
            }
        }
    }

    /// <summary>
    /// Some rows for the tiled kernel: [group][step][row][16], so that a tile reads one group of lanes of its rows as one run.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows(float* x, int rows, int inputs, bool evenOdd, float* destination)
    {
        int steps = (inputs + Product.Step - 1) / Product.Step;
        long group = (long)steps * rows * 16;
        float* padded = stackalloc float[Product.Step];
        for (int row = 0; row < rows; row++)
        {
            float* source = x + (long)row * inputs;
            for (int step = 0; step < steps; step++)
            {
                float* from = source + step * Product.Step;
                if ((step + 1) * Product.Step > inputs)
                {
                    Pad(source, inputs, step, padded);
                    from = padded;
                }
                float* to = destination + ((long)step * rows + row) * 16;
                Put(from, evenOdd, to, to + group);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Put(float* x, bool evenOdd, float* first, float* second)
    {
        if (!evenOdd)
        {
            Vector512.Load(x).Store(first);
            Vector512.Load(x + 16).Store(second);
            return;
        }
        for (int i = 0; i < 16; i += 4)
        {
            Vector128<float> low = Vector128.Load(x + 2 * i), high = Vector128.Load(x + 2 * i + 4);
            if (System.Runtime.Intrinsics.X86.Sse.IsSupported)
            {
                System.Runtime.Intrinsics.X86.Sse.Shuffle(low, high, 0b10_00_10_00).Store(first + i);
                System.Runtime.Intrinsics.X86.Sse.Shuffle(low, high, 0b11_01_11_01).Store(second + i);
            }
            else
            {
                Vector128.Create(low[0], low[2], high[0], high[2]).Store(first + i);
                Vector128.Create(low[1], low[3], high[1], high[3]).Store(second + i);
            }
        }
    }

    static void Pad(float* x, int inputs, int step, float* padded)
    {
        int from = step * Product.Step;
        new Span<float>(padded, Product.Step).Clear();
        new ReadOnlySpan<float>(x + from, inputs - from).CopyTo(new(padded, Product.Step));
    }
}
