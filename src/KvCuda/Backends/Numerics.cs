namespace KvCuda.Backends;

/// <summary>What a row's bits may depend on, and what may be rounded.</summary>
internal enum Numerics
{
    /// <summary>Calls of prompt size may use other kernels than decode steps; results agree within tolerance.</summary>
    Fast,

    /// <summary>Nothing but the row: not the number of rows in the call, the batch mates, or prompt chunk or decode.</summary>
    Consistent,

    /// <summary>
    /// Consistent, and activations are never rounded to a type with fewer bits than f32. Exception: int8 weights are always
    /// multiplied with activations rounded to 16 bits.
    /// </summary>
    Exact,
}

/// <summary>Names of the classes.</summary>
internal static class NumericsNames
{
    /// <summary>fast, consistent or exact.</summary>
    public static string Name(this Numerics numerics) => numerics switch
    {
        Numerics.Fast => "fast",
        Numerics.Consistent => "consistent",
        _ => "exact",
    };
}
