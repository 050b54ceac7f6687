using System.Diagnostics.CodeAnalysis;

namespace KvCuda.Kernels;

/// <summary>
/// The variants of one kernel by what is baked into them. A variant is compiled when it is first asked for; while the
/// library is <see cref="KernelLibrary.Preparing"/> nobody waits for it, so that many compile at the same time. Looking one
/// up allocates nothing.
/// </summary>
internal sealed class Variants<TKey, [DynamicallyAccessedMembers(ArgsContract.Fields)] TArgs>(
    KernelLibrary library, Func<TKey, KernelSource<TArgs>> source, Func<TKey, int>? dynamicSharedBytes = null)
    where TKey : struct, IEquatable<TKey>
    where TArgs : unmanaged
{
    readonly Dictionary<TKey, Kernel<TArgs>> kernels = [];

    /// <summary>The variant, ready to launch.</summary>
    public Kernel<TArgs> this[TKey key]
    {
        get
        {
            if (!kernels.TryGetValue(key, out Kernel<TArgs>? kernel))
            {
                kernels[key] = kernel = library.Load(source(key), dynamicSharedBytes?.Invoke(key) ?? 0);
            }
            if (kernel.Function is null && !library.Preparing)
            {
                library.Complete();
            }
            return kernel;
        }
    }
}
