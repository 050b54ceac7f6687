namespace KvCuda.Tests.Reference;

/// <summary>RmsNorm and LayerNorm of IBackend.</summary>
static class NormReference
{
    /// <summary>y = x * rsqrt(mean(x²) + epsilon) * weight.</summary>
    public static Matrix RmsNorm(Matrix x, Matrix weight, double epsilon)
    {
        var y = new Matrix(x.Rows, x.Columns);
        for (int row = 0; row < x.Rows; row++)
        {
            double squares = 0;
            foreach (double number in x.Row(row))
            {
                squares += number * number;
            }
            double scale = 1 / Math.Sqrt(squares / x.Columns + epsilon);
            for (int i = 0; i < x.Columns; i++)
            {
                y[row, i] = x[row, i] * scale * weight[0, i];
            }
        }
        return y;
    }

    /// <summary>y = (x - mean) * rsqrt(variance + epsilon) * weight + bias.</summary>
    public static Matrix LayerNorm(Matrix x, Matrix weight, Matrix bias, double epsilon)
    {
        var y = new Matrix(x.Rows, x.Columns);
        for (int row = 0; row < x.Rows; row++)
        {
            double mean = 0, variance = 0;
            foreach (double number in x.Row(row))
            {
                mean += number / x.Columns;
            }
            foreach (double number in x.Row(row))
            {
                variance += (number - mean) * (number - mean) / x.Columns;
            }
            for (int i = 0; i < x.Columns; i++)
            {
                y[row, i] = (x[row, i] - mean) / Math.Sqrt(variance + epsilon) * weight[0, i] + bias[0, i];
            }
        }
        return y;
    }
}
