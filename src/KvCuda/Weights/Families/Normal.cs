// The normal distribution's quantile, for thresholds that are stated as shares.
namespace KvCuda.Weights.Families;

/// <summary>The standard normal distribution.</summary>
static class Normal
{
    /// <summary>
    /// The number that a share <paramref name="p"/> of the distribution lies below (Acklam's rational approximation; relative error
    /// below 1.2e-9).
    /// </summary>
    /// <param name="p">above 0 and below 1</param>
    public static double Quantile(double p)
    {
        ReadOnlySpan<double> a = [-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02, 1.383577518672690e+02,
            -3.066479806614716e+01, 2.506628277459239e+00];
        ReadOnlySpan<double> b = [-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
            -1.328068155288572e+01, 1];
        ReadOnlySpan<double> c = [-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00, -2.549732539343734e+00,
            4.374664141464968e+00, 2.938163982698783e+00];
        ReadOnlySpan<double> d = [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1];
        const double tail = 0.02425;
        if (p > 1 - tail)
        {
            return -Quantile(1 - p);
        }
        if (p < tail)
        {
            double q = Math.Sqrt(-2 * Math.Log(p));
            return Polynomial(c, q) / Polynomial(d, q);
        }
        double r = (p - 0.5) * (p - 0.5);
        return (p - 0.5) * Polynomial(a, r) / Polynomial(b, r);
    }

    static double Polynomial(ReadOnlySpan<double> coefficients, double x)
    {
        double sum = 0;
        foreach (double coefficient in coefficients)
        {
            sum = (sum * x) + coefficient;
        }
        return sum;
    }
}
