using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>Products of int8 weights and activations rounded to 16 bits, number by number: every kernel gives exactly these bits.</summary>
static class Int8Reference
{
    const int Group = 32;

    /// <summary>How a group is rounded.</summary>
    public delegate Rounded Rounding(ReadOnlySpan<float> numbers);

    /// <summary>A group of 32 as integers: a number is Scale * Integers[i].</summary>
    public readonly record struct Rounded(float Scale, int[] Integers);

    /// <summary>32 weights as signed bytes; the scale is the least bf16 that is not below the largest magnitude / 127.</summary>
    public static Rounded Weights(ReadOnlySpan<float> numbers)
    {
        float largest = Largest(numbers);
        if (!float.IsFinite(largest))
        {
            return new(float.NaN, new int[Group]);
        }
        float scale = BF16.ToSingle(BF16.FromSingle(largest / 127));
        if (scale < largest / 127)
        {
            scale = BF16.ToSingle((ushort)(BF16.FromSingle(largest / 127) + 1));
        }
        int[] integers = new int[Group];
        for (int i = 0; i < Group && scale > 0; i++)
        {
            integers[i] = (int)MathF.Round(numbers[i] / scale);
        }
        return new(scale, integers);
    }

    /// <summary>32 activations as integers within ±32512 = 127 * 256.</summary>
    public static Rounded Activations(ReadOnlySpan<float> numbers)
    {
        float largest = Largest(numbers);
        if (!float.IsFinite(largest) || largest < 1e-30f)
        {
            return new(float.IsFinite(largest) ? 0 : float.NaN, new int[Group]);
        }
        int[] integers = new int[Group];
        for (int i = 0; i < Group; i++)
        {
            integers[i] = (int)MathF.Round(numbers[i] * (32512 / largest));
        }
        return new(largest / 32512, integers);
    }

    /// <summary>x · weightᵀ.</summary>
    public static float[] MatMul(Matrix x, Matrix weight)
    {
        Rounded[][] xs = [.. Enumerable.Range(0, x.Rows).Select(row => Row(x, row, Activations))];
        float[] y = new float[x.Rows * weight.Rows];
        for (int output = 0; output < weight.Rows; output++)
        {
            Rounded[] w = Row(weight, output, Weights);
            for (int row = 0; row < x.Rows; row++)
            {
                float sum = 0;
                for (int g = 0; g < w.Length; g++)
                {
                    long dot = 0;
                    for (int i = 0; i < Group; i++)
                    {
                        dot += (long)w[g].Integers[i] * xs[row][g].Integers[i];
                    }
                    sum = MathF.FusedMultiplyAdd(dot, w[g].Scale * xs[row][g].Scale, sum);
                }
                y[row * weight.Rows + output] = sum;
            }
        }
        return y;
    }

    /// <summary>A row's groups.</summary>
    public static Rounded[] Row(Matrix matrix, int row, Rounding group)
    {
        float[] numbers = [.. matrix.Row(row).ToArray().Select(number => (float)number)];
        return [.. Enumerable.Range(0, numbers.Length / Group).Select(g => group(numbers.AsSpan(g * Group, Group)))];
    }

    static float Largest(ReadOnlySpan<float> numbers)
    {
        float largest = 0;
        foreach (float number in numbers)
        {
            largest = MathF.Max(largest, MathF.Abs(number)); // NaN wins
        }
        return largest;
    }
}
