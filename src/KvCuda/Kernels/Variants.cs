using System.Diagnostics.CodeAnalysis;

namespace KvCuda.Kernels;

/// <summary>
/// The variants of one kernel by what is baked into them. A variant is compiled when it is first asked for;
/// <see cref="Prepare"/> asks without waiting, so that many compile at the same time. Looking one up allocates nothing.
/// </summary>
internal sealed class Variants<TKey, [DynamicallyAccessedMembers(ArgsContract.Fields)] TArgs>(
    KernelLibrary library, Func<TKey, KernelSource<TArgs>> source, Func<TKey, int>? dynamicSharedBytes = null)
    where TKey : struct, IEquatable<TKey>
    where TArgs : unmanaged
{
    readonly Dictionary<TKey, Kernel<TArgs>> kernels = [];

    /// <summary>Queues the compilation; <see cref="KernelLibrary.Complete"/> waits for it.</summary>
    public Kernel<TArgs> Prepare(TKey key)
    {
        if (!kernels.TryGetValue(key, out Kernel<TArgs>? kernel))
        {
            kernels[key] = kernel = library.Load(source(key), dynamicSharedBytes?.Invoke(key) ?? 0);
        }
        return kernel;
    }

    /// <summary>The variant, ready to launch.</summary>
    public Kernel<TArgs> this[TKey key]
    {
        get
        {
            Kernel<TArgs> kernel = Prepare(key);
            if (kernel.Function is null)
            {
                library.Complete();
            }
            return kernel;
        }
    }
}
