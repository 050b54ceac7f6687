using KvCuda.Gpu;
using KvCuda.Interop;

namespace KvCuda.Kernels;

/// <summary>
/// The kernels of one device. <see cref="Load"/> hands out a kernel at once and queues its compilation;
/// <see cref="Complete"/> waits until every one of them is on the device, so that many compile at the same time. The same
/// source asked for twice is one kernel.
/// </summary>
internal sealed class KernelLibrary(GpuContext context, KernelCompiler compiler) : IDisposable
{
    readonly Dictionary<string, Entry> entries = [];
    bool disposed;

    /// <summary>Every kernel that was asked for.</summary>
    public IEnumerable<Kernel> Kernels => entries.Values.Select(entry => entry.Kernel);

    public GpuContext Context => context;

    /// <summary>What was compiled, or taken from the cache; waits for it.</summary>
    public IEnumerable<CompiledKernel> Compiled => entries.Values.Select(entry => entry.Compilation.GetAwaiter().GetResult());

    /// <summary>A kernel that is usable after the next <see cref="Complete"/>.</summary>
    /// <param name="source">the file and what is baked into it</param>
    /// <param name="dynamicSharedBytes">the most dynamic shared memory that a launch will ask for</param>
    public Kernel<TArgs> Load<[System.Diagnostics.CodeAnalysis.DynamicallyAccessedMembers(ArgsContract.Fields)] TArgs>(
        KernelSource<TArgs> source, int dynamicSharedBytes = 0) where TArgs : unmanaged
    {
        string key = $"{source.Path} {source} {typeof(TArgs)} {dynamicSharedBytes}";
        if (entries.TryGetValue(key, out Entry? known))
        {
            return (Kernel<TArgs>)known.Kernel;
        }
        var kernel = new Kernel<TArgs>(this, source, dynamicSharedBytes);
        entries.Add(key, new(kernel, Task.Run(() => compiler.Compile(source))));
        return kernel;
    }

    /// <summary>Waits for all compilations and brings their code to the device, if there is one.</summary>
    /// <exception cref="DeviceException">At least one does not compile or load.</exception>
    public void Complete()
    {
        foreach (Entry entry in entries.Values.Where(entry => entry.Module is null))
        {
            CompiledKernel compiled = entry.Compilation.GetAwaiter().GetResult();
            if (context.IsImaginary)
            {
                continue;
            }
            KernelSource source = entry.Kernel.Source;
            entry.Module = new GpuModule(context, compiled.Cubin, source.ToString());
            GpuFunction function = entry.Module.Function(source.Entry);
            if (entry.Kernel.DynamicSharedBytes > 0)
            {
                function.SetAttribute(FunctionAttribute.MaxDynamicSharedBytes, entry.Kernel.DynamicSharedBytes);
            }
            entry.Kernel.Function = function;
        }
    }

    public void Dispose()
    {
        if (disposed)
        {
            return;
        }
        disposed = true;
        foreach (Entry entry in entries.Values)
        {
            // A compilation that still runs uses the compiler, which its caller may unload next.
            ((IAsyncResult)entry.Compilation).AsyncWaitHandle.WaitOne();
            entry.Module?.Dispose();
        }
    }

    sealed class Entry(Kernel kernel, Task<CompiledKernel> compilation)
    {
        public Kernel Kernel => kernel;

        public Task<CompiledKernel> Compilation => compilation;

        public GpuModule? Module { get; set; }
    }
}
