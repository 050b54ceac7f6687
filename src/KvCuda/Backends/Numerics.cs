namespace KvCuda.Backends;

/// <summary>What a row's bits may depend on, and what may be rounded.</summary>
internal enum Numerics
{
    /// <summary>Calls of prompt size may use other kernels than decode steps; results agree within tolerance.</summary>
    Fast,

    /// <summary>Nothing but the row: not the number of rows in the call, the batch mates, or prompt chunk or decode.</summary>
    Consistent,

    /// <summary>
    /// Consistent, and activations are never rounded to a type with fewer bits than f32. Int8 weights are no exception to how they are
    /// multiplied: with activations as 16-bit integers, whatever the class.
    /// </summary>
    Exact,
}
