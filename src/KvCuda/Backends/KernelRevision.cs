// The number that says which bits a backend's kernels compute.
namespace KvCuda.Backends;

/// <summary>
/// Raise a backend's number when its kernels store other bits of keys and values, or draw other tokens, than before. Pages
/// and snapshots of another revision are never read. A test holds hashes of stored keys and values per revision
/// (tests/KvCuda.Tests/Golden/kv-bits.json): it fails when bits change and the number does not.
/// </summary>
internal static class KernelRevision
{
    /// <summary>The CPU backend, all instruction sets.</summary>
    public const int Cpu = 1;

    /// <summary>The CUDA backend.</summary>
    public const int Cuda = 1;
}
