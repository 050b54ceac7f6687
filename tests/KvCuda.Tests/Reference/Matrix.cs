using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>Numbers of a tensor, row after row, in double: what references compute on.</summary>
sealed class Matrix(int rows, int columns)
{
    public int Rows => rows;

    public int Columns => columns;

    public double[] Numbers { get; } = new double[(long)rows * columns];

    public ref double this[int row, int column] => ref Numbers[(long)row * columns + column];

    public Span<double> Row(int row) => Numbers.AsSpan(row * columns, columns);

    /// <summary>Normally distributed numbers, rounded to how they will be stored.</summary>
    public static Matrix Random(Random random, int rows, int columns, DType type = DType.F32, double scale = 1)
    {
        var matrix = new Matrix(rows, columns);
        foreach (ref double number in matrix.Numbers.AsSpan())
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            number = Round(scale * radius * Math.Cos(2 * Math.PI * random.NextDouble()), type);
        }
        return matrix;
    }

    /// <summary>The nearest number that the type has (of f32 first, since that is what is stored from).</summary>
    public static double Round(double number, DType type) => type switch
    {
        DType.F16 => (double)(Half)(float)number,
        DType.BF16 => BF16.ToSingle(BF16.FromSingle((float)number)),
        _ => (float)number,
    };

    /// <summary>Every number rounded to the type.</summary>
    public Matrix Rounded(DType type)
    {
        var rounded = new Matrix(Rows, Columns);
        for (int i = 0; i < Numbers.Length; i++)
        {
            rounded.Numbers[i] = Round(Numbers[i], type);
        }
        return rounded;
    }

    /// <summary>A copy.</summary>
    public Matrix Copy()
    {
        var copy = new Matrix(Rows, Columns);
        Numbers.CopyTo(copy.Numbers, 0);
        return copy;
    }

    /// <summary>The bytes as they are stored.</summary>
    public byte[] Bytes(DType type)
    {
        byte[] bytes = new byte[(long)Numbers.Length * type.Bytes()];
        for (int i = 0; i < Numbers.Length; i++)
        {
            Span<byte> place = bytes.AsSpan(i * type.Bytes());
            switch (type)
            {
                case DType.F16:
                    BitConverter.TryWriteBytes(place, (Half)(float)Numbers[i]);
                    break;
                case DType.BF16:
                    BitConverter.TryWriteBytes(place, BF16.FromSingle((float)Numbers[i]));
                    break;
                default:
                    BitConverter.TryWriteBytes(place, (float)Numbers[i]);
                    break;
            }
        }
        return bytes;
    }
}
