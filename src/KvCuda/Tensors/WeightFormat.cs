namespace KvCuda.Tensors;

/// <summary>
/// How a matrix of weights (outputs, inputs) lies in memory: all that is known about one format, in one place. A backend
/// says which formats its products take. Adding one is an entry here, its layout, and kernels.
/// </summary>
/// <param name="Name">in options, messages and cache keys: "bf16", "int8"</param>
/// <param name="Element">the type of the numbers, row after row; <see cref="DType.Packed"/> if there is no such order</param>
/// <param name="Group">inputs that share a scale; a matrix has whole groups</param>
/// <param name="Block">outputs that lie together; a slice begins with a whole block</param>
internal sealed record WeightFormat(string Name, DType Element, int Group = 1, int Block = 1)
{
    public static readonly WeightFormat F32 = new("f32", DType.F32);
    public static readonly WeightFormat F16 = new("f16", DType.F16);
    public static readonly WeightFormat BF16 = new("bf16", DType.BF16);

    /// <summary>Bytes with a bf16 scale for every 32 inputs: <see cref="Int8Layout"/>.</summary>
    public static readonly WeightFormat Int8 = new("int8", DType.Packed, Int8Layout.Group, Int8Layout.Block)
    {
        BytesOf = (outputs, inputs) => new Int8Layout(outputs, inputs).Bytes,
        Quantise = Int8Quantiser.Quantise,
        Dequantise = Int8Quantiser.Dequantise,
    };

    /// <summary>Formats that a model can be quantised to when it is loaded.</summary>
    public static IReadOnlyList<WeightFormat> Quantised { get; } = [Int8];

    /// <summary>What --weights and KvEngineOptions.Weights may say.</summary>
    public static string[] Choices => ["stored", .. Quantised.Select(format => format.Name)];

    /// <summary>Bytes of a packed matrix of so many outputs and inputs.</summary>
    public Func<int, int, long>? BytesOf { get; init; }

    /// <summary>destination = source, rounded; null for a format that is only stored.</summary>
    public Quantiser? Quantise { get; init; }

    /// <summary>The numbers that a row of a quantised matrix stands for.</summary>
    public Dequantiser? Dequantise { get; init; }

    /// <summary>Numbers lie row after row, as files have them.</summary>
    public bool IsStored => Element != DType.Packed;

    /// <summary>Bytes of a matrix.</summary>
    public long Bytes(int outputs, int inputs) => BytesOf?.Invoke(outputs, inputs) ?? (long)outputs * inputs * Element.Bytes();

    /// <summary>The format of numbers that lie row after row.</summary>
    public static WeightFormat Of(DType type) => type switch
    {
        DType.F32 => F32,
        DType.F16 => F16,
        DType.BF16 => BF16,
        _ => throw new ArgumentException($"Numbers of type {type.Name()} are no weights."),
    };

    /// <summary>The format that an option names; null for "stored".</summary>
    /// <exception cref="InvalidRequestException">It names none.</exception>
    public static WeightFormat? Parse(string option) => option == "stored" ? null
        : Quantised.FirstOrDefault(format => format.Name == option)
            ?? throw new InvalidRequestException($"Weights is '{option}'; it must be {string.Join(" or ", Choices)}.");

    public delegate void Quantiser(in Tensor destination, in Tensor source);

    public delegate void Dequantiser(Span<float> numbers, in Tensor weight, int row);
}
