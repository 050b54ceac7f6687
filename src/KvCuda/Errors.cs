namespace KvCuda;

/// <summary>
/// The base of every error KvCuda raises on purpose. The message says what was asked, what was found and what to do.
/// </summary>
public abstract class KvCudaException : Exception
{
    private protected KvCudaException(string message, Exception? inner = null) : base(message, inner) { }
}

/// <summary>A file of the model folder is missing, malformed or disagrees with another one.</summary>
public sealed class ModelFormatException : KvCudaException
{
    /// <summary>Creates the error with its full message.</summary>
    public ModelFormatException(string message, Exception? inner = null) : base(message, inner) { }
}

/// <summary>The model is well formed, but asks for something KvCuda does not implement. The message names it.</summary>
public sealed class UnsupportedModelException : KvCudaException
{
    /// <summary>Creates the error with its full message.</summary>
    public UnsupportedModelException(string message, Exception? inner = null) : base(message, inner) { }
}

/// <summary>A request can never fit into the key/value budget, however long it waits.</summary>
public sealed class KvBudgetException : KvCudaException
{
    /// <summary>Creates the error with its full message and the two figures behind it.</summary>
    public KvBudgetException(string message, long neededBytes, long budgetBytes) : base(message)
    {
        NeededBytes = neededBytes;
        BudgetBytes = budgetBytes;
    }

    /// <summary>Bytes of key/value pages the request needs at its longest.</summary>
    public long NeededBytes { get; }

    /// <summary>Bytes the store was given.</summary>
    public long BudgetBytes { get; }
}

/// <summary>An option or a request is out of range or contradicts another one.</summary>
public sealed class InvalidRequestException : KvCudaException
{
    /// <summary>Creates the error with its full message.</summary>
    public InvalidRequestException(string message, Exception? inner = null) : base(message, inner) { }
}

/// <summary>The engine has as many waiting requests as it takes. Nothing is wrong with this one: ask again later.</summary>
public sealed class QueueFullException : KvCudaException
{
    /// <summary>Creates the error with its full message and the limit.</summary>
    public QueueFullException(string message, int maxWaiting) : base(message) => MaxWaiting = maxWaiting;

    /// <summary>Requests that may wait at the same time.</summary>
    public int MaxWaiting { get; }
}

/// <summary>The model's logits are not numbers, so no token can be chosen. Other requests go on.</summary>
public sealed class ModelOutputException : KvCudaException
{
    /// <summary>Creates the error with its full message.</summary>
    public ModelOutputException(string message, Exception? inner = null) : base(message, inner) { }
}

/// <summary>The device, its driver or its compiler failed or is not there.</summary>
public sealed class DeviceException : KvCudaException
{
    /// <summary>Creates the error with its full message.</summary>
    public DeviceException(string message, Exception? inner = null) : base(message, inner) { }
}
