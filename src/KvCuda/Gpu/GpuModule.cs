using System.Text;
using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>Compiled code on the device.</summary>
internal sealed unsafe class GpuModule : IDisposable
{
    readonly GpuContext context;
    readonly nint handle;
    bool disposed;

    /// <summary>Loads a cubin that was compiled for this device's architecture.</summary>
    public GpuModule(GpuContext context, ReadOnlySpan<byte> cubin, string name)
    {
        this.context = context;
        using GpuContext.Scope scope = context.Enter();
        fixed (byte* image = cubin)
        {
            nint module;
            context.Cuda.Check(context.Cuda.cuModuleLoadData(&module, image), $"cuModuleLoadData({name})");
            handle = module;
        }
    }

    /// <summary>A function of the module by its name.</summary>
    public GpuFunction Function(string name)
    {
        using GpuContext.Scope scope = context.Enter();
        nint function;
        fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
        {
            context.Cuda.Check(context.Cuda.cuModuleGetFunction(&function, handle, text), $"cuModuleGetFunction({name})");
        }
        return new(context, function);
    }

    public void Dispose()
    {
        if (!disposed)
        {
            using GpuContext.Scope scope = context.Enter();
            _ = context.Cuda.cuModuleUnload(handle);
            disposed = true;
        }
    }
}

/// <summary>One function of a <see cref="GpuModule"/>, alive as long as the module.</summary>
internal sealed unsafe class GpuFunction(GpuContext context, nint handle)
{
    /// <summary>The CUfunction.</summary>
    public nint Handle => handle;

    public int Attribute(FunctionAttribute attribute)
    {
        using GpuContext.Scope scope = context.Enter();
        int value;
        context.Cuda.Check(context.Cuda.cuFuncGetAttribute(&value, attribute, handle));
        return value;
    }

    public void SetAttribute(FunctionAttribute attribute, int value)
    {
        using GpuContext.Scope scope = context.Enter();
        context.Cuda.Check(context.Cuda.cuFuncSetAttribute(handle, attribute, value));
    }

    /// <summary>How many blocks of this shape one multiprocessor holds at once.</summary>
    public int BlocksPerMultiprocessor(int threads, int dynamicSharedBytes)
    {
        using GpuContext.Scope scope = context.Enter();
        int blocks;
        context.Cuda.Check(context.Cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, handle, threads, (nuint)dynamicSharedBytes));
        return blocks;
    }
}
