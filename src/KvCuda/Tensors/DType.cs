namespace KvCuda.Tensors;

/// <summary>The element types that tensors have. Arithmetic is f32, but for products with int8 weights; these are how numbers are kept.</summary>
public enum DType
{
    /// <summary>IEEE binary32.</summary>
    F32,

    /// <summary>IEEE binary16: 10 bits of fraction, largest value 65504.</summary>
    F16,

    /// <summary>The upper half of a binary32: 7 bits of fraction, the exponent range of f32.</summary>
    BF16,

    /// <summary>Signed 32-bit integer: token ids, positions, page tables.</summary>
    I32,

    /// <summary>
    /// Weights quantised at load: groups of 32 numbers, each a bf16 scale and 32 signed bytes; a number is scale * byte. Rows do not lie
    /// one after another, but sixteen side by side.
    /// </summary>
    Int8,
}

/// <summary>Sizes and names of <see cref="DType"/>.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element; of <see cref="DType.Int8"/> without its share of the group's scale and of padding.</summary>
    public static int Bytes(this DType type) => type switch { DType.F32 or DType.I32 => 4, DType.Int8 => 1, _ => 2 };

    /// <summary>Bytes of a matrix; of <see cref="DType.Int8"/> with scales and padding.</summary>
    internal static long Bytes(this DType type, int rows, int columns) =>
        type == DType.Int8 ? new Int8Layout(rows, columns).Bytes : (long)rows * columns * type.Bytes();

    /// <summary>The name used on the command line and in messages: f32, f16, bf16, i32.</summary>
    public static string Name(this DType type) => type switch
    {
        DType.F32 => "f32",
        DType.F16 => "f16",
        DType.BF16 => "bf16",
        DType.Int8 => "int8",
        _ => "i32",
    };

    /// <summary>The inverse of <see cref="Name"/>; also understands PyTorch's names (float32, float16, bfloat16).</summary>
    /// <exception cref="InvalidRequestException">The name is not one of these.</exception>
    public static DType Parse(string name) => name switch
    {
        "f32" or "float32" => DType.F32,
        "f16" or "float16" => DType.F16,
        "bf16" or "bfloat16" => DType.BF16,
        _ => throw new InvalidRequestException($"Unknown element type '{name}'; known are f32, f16 and bf16."),
    };
}
