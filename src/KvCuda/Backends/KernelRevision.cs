// The number that says which bits a backend's kernels compute.
namespace KvCuda.Backends;

/// <summary>
/// Raise a backend's number when its kernels store other bits of keys and values, or draw other tokens, than before. Pages
/// and snapshots of another revision are never read. A test holds hashes of stored keys and values per revision
/// (tests/KvCuda.Tests/Golden/kv-bits.json): it fails when bits change and the number does not.
/// </summary>
internal static class KernelRevision
{
    /// <summary>The CPU backend, all instruction sets. 1: version 0.1.0. 2: another order of draws.</summary>
    public const int Cpu = 2;

    /// <summary>The CUDA backend. 1: version 0.1.0. 2: another order of draws.</summary>
    public const int Cuda = 2;
}
