using System.Diagnostics.CodeAnalysis;

namespace KvCuda.Kernels;

/// <summary>
/// The variants of one kernel by what is baked into them. A variant starts to compile when it is first asked for, and its first
/// launch waits for it. Looking one up allocates nothing.
/// </summary>
internal sealed class Variants<TKey, [DynamicallyAccessedMembers(ArgsContract.Fields)] TArgs>(
    KernelLibrary library, Func<TKey, KernelSource<TArgs>> source, Func<TKey, int>? dynamicSharedBytes = null)
    where TKey : struct, IEquatable<TKey>
    where TArgs : unmanaged
{
    readonly Dictionary<TKey, Kernel<TArgs>> kernels = [];

    /// <summary>The variant.</summary>
    public Kernel<TArgs> this[TKey key]
    {
        get
        {
            if (!kernels.TryGetValue(key, out Kernel<TArgs>? kernel))
            {
                kernels[key] = kernel = library.Load(source(key), dynamicSharedBytes?.Invoke(key) ?? 0);
            }
            return kernel;
        }
    }
}
