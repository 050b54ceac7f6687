namespace KvCuda.Tests.Reference;

/// <summary>RopeAngles and Rotate of IBackend.</summary>
static class RopeReference
{
    /// <summary>The cosines of a row, then its sines, each times scale.</summary>
    public static Matrix Angles(int[] positions, Matrix inverseFrequency, double scale)
    {
        int pairs = inverseFrequency.Columns;
        var cosSin = new Matrix(positions.Length, 2 * pairs);
        for (int row = 0; row < positions.Length; row++)
        {
            for (int i = 0; i < pairs; i++)
            {
                double angle = positions[row] * inverseFrequency[0, i];
                cosSin[row, i] = Math.Cos(angle) * scale;
                cosSin[row, pairs + i] = Math.Sin(angle) * scale;
            }
        }
        return cosSin;
    }

    /// <summary>(x[i], x[i+p]) = (x[i] cos_i - x[i+p] sin_i, x[i+p] cos_i + x[i] sin_i) in each head.</summary>
    public static Matrix Rotate(Matrix x, Matrix cosSin, int headDim)
    {
        int pairs = cosSin.Columns / 2;
        Matrix y = x.Copy();
        for (int row = 0; row < x.Rows; row++)
        {
            for (int head = 0; head < x.Columns; head += headDim)
            {
                for (int i = 0; i < pairs; i++)
                {
                    double low = x[row, head + i], high = x[row, head + i + pairs];
                    y[row, head + i] = low * cosSin[row, i] - high * cosSin[row, pairs + i];
                    y[row, head + i + pairs] = high * cosSin[row, i] + low * cosSin[row, pairs + i];
                }
            }
        }
        return y;
    }
}
