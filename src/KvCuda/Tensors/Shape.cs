namespace KvCuda.Tensors;

/// <summary>The dimensions of a stored tensor, outermost first, as a safetensors header gives them.</summary>
internal readonly struct Shape(params long[] dimensions) : IEquatable<Shape>
{
    readonly long[] dimensions = dimensions;

    public int Rank => dimensions?.Length ?? 0;

    public long this[int index] => dimensions[index];

    /// <summary>The product of the dimensions (1 for a scalar). Checked: a hostile header cannot overflow it.</summary>
    public long Count
    {
        get
        {
            long count = 1;
            foreach (long dimension in dimensions ?? [])
            {
                count = checked(count * dimension);
            }
            return count;
        }
    }

    public bool Equals(Shape other) => (dimensions ?? []).AsSpan().SequenceEqual(other.dimensions ?? []);

    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(Rank, Rank > 0 ? dimensions[0] : 0);

    /// <summary>As Python prints a tuple: (32000, 2048), (2048,).</summary>
    public override string ToString() =>
        Rank == 1 ? $"({dimensions[0]},)" : $"({string.Join(", ", dimensions ?? [])})";
}
