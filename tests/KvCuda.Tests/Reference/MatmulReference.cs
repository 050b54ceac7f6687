using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>MatMul, MatMulAdd, MatMulGate, Gate and Activate of IBackend.</summary>
static class MatmulReference
{
    /// <summary>y = x · weightᵀ + bias.</summary>
    public static Matrix MatMul(Matrix x, Matrix weight, Matrix? bias = null)
    {
        var y = new Matrix(x.Rows, weight.Rows);
        for (int row = 0; row < x.Rows; row++)
        {
            for (int output = 0; output < weight.Rows; output++)
            {
                double sum = 0;
                for (int i = 0; i < x.Columns; i++)
                {
                    sum += x[row, i] * weight[output, i];
                }
                y[row, output] = sum + (bias?[0, output] ?? 0);
            }
        }
        return y;
    }

    /// <summary>activation(gate) * up.</summary>
    public static Matrix Gate(Matrix gate, Matrix up, Activation activation)
    {
        var y = new Matrix(gate.Rows, gate.Columns);
        for (int i = 0; i < y.Numbers.Length; i++)
        {
            y.Numbers[i] = Activate(gate.Numbers[i], activation) * up.Numbers[i];
        }
        return y;
    }

    /// <summary>The formulas of <see cref="Activation"/>.</summary>
    public static double Activate(double x, Activation activation) => activation switch
    {
        Activation.Silu => x / (1 + Math.Exp(-x)),
        Activation.GeluTanh => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        Activation.Gelu => 0.5 * x * (1 + Erf(x / Math.Sqrt(2))),
        _ => Math.Max(x, 0),
    };

    // 2/sqrt(pi) times the series of the integral of exp(-t²): all terms positive in this form, so nothing cancels.
    static double Erf(double x)
    {
        if (Math.Abs(x) > 6)
        {
            return Math.Sign(x);
        }
        double term = x, sum = x;
        for (int n = 1; n < 200; n++)
        {
            term *= 2 * x * x / (2 * n + 1);
            sum += term;
        }
        return 2 / Math.Sqrt(Math.PI) * Math.Exp(-x * x) * sum;
    }
}
