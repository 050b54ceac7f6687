namespace KvCuda.KvStore;

/// <summary>What is wrong with a snapshot that is refused.</summary>
public enum KvSnapshotFault
{
    /// <summary>It is not a KvCuda snapshot at all.</summary>
    NotASnapshot,

    /// <summary>It ends early.</summary>
    Truncated,

    /// <summary>Its bytes or its figures contradict its checksums or each other.</summary>
    Altered,

    /// <summary>It was made for another model, tokenizer, sharing map, element type or numerics class.</summary>
    Foreign,

    /// <summary>It was written by a later version.</summary>
    Future,
}

/// <summary>A snapshot is refused; the store is as it was. The message says what was expected and what was found.</summary>
public sealed class KvSnapshotException : KvCudaException
{
    /// <summary>Creates the error with its full message.</summary>
    public KvSnapshotException(KvSnapshotFault fault, string message) : base(message) => Fault = fault;

    /// <summary>What is wrong with it.</summary>
    public KvSnapshotFault Fault { get; }
}
