using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>
/// The element types of the safetensors format. Only F32, F16 and BF16 can be weights; the others are known so that
/// a file holding such tensors beside the weights (GPT-Neo's masks, say) is still read and checked.
/// </summary>
readonly record struct StoredType
{
    static readonly Dictionary<string, StoredType> Known = new StoredType[]
    {
        new("F32", 32, DType.F32), new("F16", 16, DType.F16), new("BF16", 16, DType.BF16),
        new("F64", 64), new("C64", 64), new("F8_E4M3", 8), new("F8_E5M2", 8), new("F8_E8M0", 8),
        new("F8_E4M3FNUZ", 8), new("F8_E5M2FNUZ", 8), new("F6_E2M3", 6), new("F6_E3M2", 6), new("F4", 4),
        new("I64", 64), new("I32", 32), new("I16", 16), new("I8", 8),
        new("U64", 64), new("U32", 32), new("U16", 16), new("U8", 8), new("BOOL", 8),
    }.ToDictionary(type => type.Name);

    StoredType(string name, int bits, DType? type = null)
    {
        Name = name;
        Bits = bits;
        Type = type;
    }

    /// <summary>As in the file: "BF16".</summary>
    public string Name { get; }

    /// <summary>Bits of one element.</summary>
    public int Bits { get; }

    /// <summary>The weight type it is, or null.</summary>
    public DType? Type { get; }

    /// <summary>Finds a type by its name in the file.</summary>
    public static bool TryParse(string name, out StoredType type) => Known.TryGetValue(name, out type);

    /// <summary>The name in the file of a weight type.</summary>
    public static string NameOf(DType type) => type switch
    {
        DType.F32 => "F32",
        DType.F16 => "F16",
        DType.BF16 => "BF16",
        _ => throw new ArgumentException($"Weights are not kept as {type.Name()}."),
    };
}
