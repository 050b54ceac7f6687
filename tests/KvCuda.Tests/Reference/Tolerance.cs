using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>
/// How far a result may be from its double-precision reference: |found - expected| &lt;= Absolute + Relative * |expected|.
/// </summary>
/// <param name="Absolute">for sums whose terms cancel: in units of the terms, which tests keep near 1</param>
/// <param name="Relative">for everything else</param>
/// <param name="Reason">why it is as large as it is</param>
readonly record struct Tolerance(double Absolute, double Relative, string Reason)
{
    /// <summary>Copies and roundings.</summary>
    public static Tolerance Same => new(0, 0, "nothing is computed");

    /// <summary>A few f32 operations per number, the library's exponentials and trigonometry among them.</summary>
    public static Tolerance ElementWise => new(1e-6, 2e-6, "each f32 operation is off by at most 6e-8 of its result, the library's by a few times that");

    /// <summary>Sums of some thousand f32 products.</summary>
    public static Tolerance Sums => new(2e-5, 1e-5, "n products of size 1 in f32: about sqrt(n) roundings of 6e-8 each, in partial sums of up to sqrt(n)");

    /// <summary>
    /// Products on tensor cores against a reference whose inputs were rounded at the same points: exact products, f32 sums.
    /// </summary>
    public static Tolerance TensorCoreSums => new(5e-5, 2e-5, "as Sums; an mma may add its 16 products without rounding to nearest");

    /// <summary>Attention with f32 arithmetic.</summary>
    public static Tolerance Attention => new(2e-5, 1e-5, "scores of size 30 (unscaled, head dim 256) are off by some 1e-6, and a weight by as much of itself");

    /// <summary>Attention on tensor cores: the weights are rounded to the KV's type before they meet the values.</summary>
    public static Tolerance AttentionOf(DType kv) => kv switch
    {
        DType.BF16 => new(4e-3, 4e-3, "bf16 weights: each is off by up to 2^-9, and values of size 1 to 3 are averaged with them"),
        DType.F16 => new(6e-4, 6e-4, "f16 weights: each is off by up to 2^-12, plus those below 2^-14 of the largest, which lose bits"),
        _ => Attention,
    };

    /// <summary>Fails with the place, both numbers and the bound.</summary>
    public void Check(string what, ReadOnlySpan<float> found, Matrix expected)
    {
        Assert.Equal(expected.Numbers.Length, found.Length);
        for (int i = 0; i < found.Length; i++)
        {
            double number = expected.Numbers[i], bound = Absolute + Relative * Math.Abs(number);
            // note: written so that NaN fails.
            if (!(Math.Abs(found[i] - number) <= bound))
            {
                Assert.Fail($"{what}: at ({i / expected.Columns}, {i % expected.Columns}) is {found[i]:R}, " +
                    $"expected {number:R} within {bound:G3} ({Reason})");
            }
        }
    }
}
