using System.Runtime.CompilerServices;

namespace KvCuda.Tensors;

/// <summary>
/// A view of row-major numbers somewhere: address, type and (rows, columns). It never owns memory. The address is a
/// host pointer on the CPU backend and a device pointer on the CUDA backend; only the backend that made it reads it.
/// A vector of n numbers is (1, n).
/// </summary>
internal readonly struct Tensor(string name, DType type, nint address, int rows, int columns)
{
    readonly WeightFormat? packed; // null: numbers lie row after row

    /// <summary>Weights in some format.</summary>
    public Tensor(string name, WeightFormat format, nint address, int rows, int columns)
        : this(name, format.Element, address, rows, columns) => packed = format.IsStored ? null : format;

    public readonly nint Address = address;
    public readonly int Rows = rows;
    public readonly int Columns = columns;
    public readonly DType Type = type;
    public readonly string Name = name;

    /// <summary>The default value: a verb's optional operand (a bias, say) that is not there.</summary>
    public bool IsNone => Address == 0;

    public long Count => (long)Rows * Columns;

    public long Bytes => BytesOf(Rows);

    /// <summary>How weights lie in memory.</summary>
    public WeightFormat Format => packed ?? WeightFormat.Of(Type);

    long BytesOf(int rows) => packed?.Bytes(rows, Columns) ?? (long)rows * Columns * Type.Bytes();

    Tensor With(nint address, int rows, int columns) => packed is null
        ? new(Name, Type, address, rows, columns)
        : new(Name, packed, address, rows, columns);

    /// <summary>The first <paramref name="count"/> rows.</summary>
    public Tensor Top(int count) => Slice(0, count);

    /// <summary>Rows [start, start + count). Of packed weights they begin with a whole block.</summary>
    public Tensor Slice(int start, int count)
    {
        if ((uint)start > (uint)Rows || (uint)count > (uint)(Rows - start))
        {
            throw new ArgumentOutOfRangeException(nameof(count), $"{this}: rows [{start}, {start + count}) were asked for.");
        }
        if (packed is not null && start % packed.Block != 0)
        {
            throw new ArgumentException($"{this}: rows lie in blocks of {packed.Block}, and none begins at row {start}.", nameof(start));
        }
        return With(Address + (nint)BytesOf(start), count, Columns);
    }

    /// <summary>Numbers [start, start + count) of a vector, as a vector.</summary>
    public Tensor Range(int start, int count) => View(Columns, Rows).Slice(start, count).View(1, count);

    /// <summary>The same numbers seen as (rows, columns); the count must not change.</summary>
    public Tensor View(int rows, int columns) => (long)rows * columns == Count
        ? With(Address, rows, columns)
        : throw new ArgumentException($"{this} cannot be seen as ({rows}, {columns}).");

    /// <summary>Host memory behind a CPU tensor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe Span<T> Span<T>() where T : unmanaged => new((void*)Address, checked((int)(Bytes / sizeof(T))));

    public override string ToString() => IsNone ? "(none)" : $"{Name} ({Rows}, {Columns}) {packed?.Name ?? Type.Name()}";
}
