namespace KvCuda.Kernels;

/// <summary>
/// A launcher: the host's half of one file under kernels/. It states what the device's half may cost and which variants
/// exist, so that tests find and check every kernel without a list.
/// </summary>
internal interface IKernel
{
    /// <summary>What every variant may cost, unless <see cref="KernelSource.Budget"/> says otherwise.</summary>
    static abstract KernelBudget Budget { get; }

    /// <summary>The variants to check: every combination of baked constants that differs in kind.</summary>
    static abstract IEnumerable<KernelSource> Sources { get; }
}
