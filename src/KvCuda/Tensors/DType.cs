namespace KvCuda.Tensors;

/// <summary>The element types that tensors have. Arithmetic is f32, but for products with packed weights; these are how numbers are kept.</summary>
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

    /// <summary>Weights in a format of their own, such as int8: numbers do not lie one after another.</summary>
    Packed,
}

/// <summary>Sizes and names of <see cref="DType"/>.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    /// <exception cref="ArgumentException">Packed weights have no elements.</exception>
    public static int Bytes(this DType type) => type switch
    {
        DType.F32 or DType.I32 => 4,
        DType.F16 or DType.BF16 => 2,
        _ => throw new ArgumentException("Packed weights have no size per element; their format knows their bytes."),
    };

    /// <summary>The name used on the command line and in messages: f32, f16, bf16, i32.</summary>
    public static string Name(this DType type) => type switch
    {
        DType.F32 => "f32",
        DType.F16 => "f16",
        DType.BF16 => "bf16",
        DType.Packed => "packed",
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
