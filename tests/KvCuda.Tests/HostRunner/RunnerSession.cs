using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using KvCuda.Interop;

namespace KvCuda.Tests.HostRunner;

/// <summary>
/// A context of its own on the host runner, made current on this thread, so that a kernel's fault breaks nothing else; and
/// the driver's functions that the engine itself does not call.
/// </summary>
internal sealed unsafe class RunnerSession : IDisposable
{
    static readonly ConcurrentDictionary<(string, string, string), byte[]> cubins = new();

    readonly nint context;
    readonly List<nint> modules = [];
    readonly List<(string Name, long Value)> changed = [];

    public RunnerSession(bool plain = false)
    {
        string path = HostRunnerLibrary.Require(plain);
        nint library = NativeLibrary.Load(path);
        Cuda = new(library, path);
        Nvrtc = new(library, path);
        Cuda.Check(Cuda.cuInit(0));
        nint created;
        Cuda.Check(((delegate* unmanaged<nint*, uint, int, int>)Export("cuCtxCreate_v2"))(&created, 0, 0));
        context = created;
    }

    public CudaDriver Cuda { get; }

    public Nvrtc Nvrtc { get; }

    public string LastError => Marshal.PtrToStringUTF8(((delegate* unmanaged<nint>)Export("kvcudaHostLastError"))())!;

    public nint Export(string name) => NativeLibrary.GetExport(Cuda.Handle, name);

    /// <summary>For launches of this thread, until the session ends.</summary>
    public void Option(string name, long value) => changed.Add((name, Exchange(name, value)));

    long Exchange(string name, long value)
    {
        byte[] text = Encoding.UTF8.GetBytes(name + '\0');
        fixed (byte* p = text)
        {
            long before;
            Cuda.Check(((delegate* unmanaged<byte*, long*, int>)Export("kvcudaHostGetOption"))(p, &before));
            Cuda.Check(((delegate* unmanaged<byte*, long, int>)Export("kvcudaHostSetOption"))(p, value));
            return before;
        }
    }

    /// <summary>Compiles a program whose includes lie under kernels/, and loads its kernel.</summary>
    public nint Compile(string text, string path, string entry, params string[] defines)
    {
        byte[] cubin = cubins.GetOrAdd((Cuda.Path, text, string.Join(' ', defines)), _ =>
        {
            byte[]? compiled = Nvrtc.Compile(text, path, Headers.Value, [.. defines.Select(d => "-D" + d)], out string log);
            Assert.True(compiled is not null, log);
            return compiled!;
        });
        nint module, function;
        fixed (byte* image = cubin)
        {
            Cuda.Check(Cuda.cuModuleLoadData(&module, image));
        }
        modules.Add(module);
        byte[] name = Encoding.UTF8.GetBytes(entry + '\0');
        fixed (byte* p = name)
        {
            Cuda.Check(Cuda.cuModuleGetFunction(&function, module, p));
        }
        Cuda.Check(Cuda.cuFuncSetAttribute(function, FunctionAttribute.MaxDynamicSharedBytes, 227 * 1024));
        return function;
    }

    public nint Allocate(int bytes)
    {
        nint address;
        Cuda.Check(Cuda.cuMemAlloc(&address, (nuint)bytes));
        return address;
    }

    public nint Upload<T>(ReadOnlySpan<T> data) where T : unmanaged
    {
        nint address = Allocate(data.Length * sizeof(T));
        fixed (T* p = data)
        {
            Cuda.Check(Cuda.cuMemcpyHtoDAsync(address, p, (nuint)(data.Length * sizeof(T)), 0));
        }
        return address;
    }

    public T[] Download<T>(nint address, int count) where T : unmanaged
    {
        T[] data = new T[count];
        fixed (T* p = data)
        {
            Cuda.Check(Cuda.cuMemcpyDtoHAsync(p, address, (nuint)(count * sizeof(T)), 0));
        }
        Cuda.Check(Cuda.cuStreamSynchronize(0));
        return data;
    }

    /// <summary>One launch with one struct of arguments, given as its bytes; the driver's result.</summary>
    public int Launch(nint function, int blocks, int threads, int shared, ReadOnlySpan<byte> arguments, bool cooperative = false, nint stream = 0)
    {
        var attribute = new LaunchAttribute { Id = LaunchAttributeId.Cooperative, X = 1 };
        var config = new LaunchConfig
        {
            GridX = (uint)blocks,
            GridY = 1,
            GridZ = 1,
            BlockX = (uint)threads,
            BlockY = 1,
            BlockZ = 1,
            SharedBytes = (uint)shared,
            Stream = stream,
            Attributes = &attribute,
            AttributeCount = cooperative ? 1u : 0,
        };
        fixed (byte* p = arguments)
        {
            void* parameter = p;
            return Cuda.cuLaunchKernelEx(&config, function, &parameter, null);
        }
    }

    public void Dispose()
    {
        for (int i = changed.Count - 1; i >= 0; i--)
        {
            Exchange(changed[i].Name, changed[i].Value);
        }
        foreach (nint module in modules)
        {
            _ = Cuda.cuModuleUnload(module);
        }
        ((delegate* unmanaged<nint, int>)Export("cuCtxDestroy_v2"))(context);
    }

    static readonly Lazy<IReadOnlyList<(string, string)>> Headers = new(() =>
    {
        string kernels = Path.Combine(Repository.Root, "kernels");
        return [.. Directory.GetFiles(Path.Combine(kernels, "shared"), "*.cuh").Select(f => ("shared/" + Path.GetFileName(f), File.ReadAllText(f)))];
    });
}

/// <summary>The bytes of an argument struct, field by field, each aligned to its size.</summary>
internal sealed class ArgumentBytes
{
    readonly List<byte> bytes = [];

    public ArgumentBytes Add<T>(T value) where T : unmanaged
    {
        int size = Marshal.SizeOf<T>();
        while (bytes.Count % size != 0)
        {
            bytes.Add(0);
        }
        byte[] field = new byte[size];
        MemoryMarshal.Write(field, in value);
        bytes.AddRange(field);
        return this;
    }

    public byte[] ToArray()
    {
        byte[] all = new byte[(bytes.Count + 7) / 8 * 8];
        bytes.CopyTo(all);
        return all;
    }
}
