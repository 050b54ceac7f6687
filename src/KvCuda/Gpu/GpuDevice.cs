using System.Runtime.InteropServices;
using KvCuda.Interop;

namespace KvCuda.Gpu;

/// <summary>What a device is and what it can do, read once.</summary>
internal sealed unsafe class GpuDevice
{
    readonly CudaDriver cuda;

    GpuDevice(CudaDriver cuda, int handle)
    {
        this.cuda = cuda;
        Handle = handle;
        const int length = 256;
        byte* name = stackalloc byte[length];
        cuda.Check(cuda.cuDeviceGetName(name, length, handle));
        Name = Marshal.PtrToStringUTF8((nint)name) ?? "";
        nuint bytes;
        cuda.Check(cuda.cuDeviceTotalMem(&bytes, handle));
        MemoryBytes = (long)bytes;
        Compute = (Attribute(DeviceAttribute.ComputeMajor), Attribute(DeviceAttribute.ComputeMinor));
        Multiprocessors = Attribute(DeviceAttribute.Multiprocessors);
        SharedBytesPerBlock = Attribute(DeviceAttribute.SharedBytesPerBlockOptIn);
    }

    GpuDevice(string name, (int Major, int Minor) compute, int multiprocessors)
    {
        cuda = null!;
        (Name, Compute, Multiprocessors, SharedBytesPerBlock) = (name, compute, multiprocessors, 227 << 10);
    }

    /// <summary>A device that is not there, to compile for: an H100's shape.</summary>
    public static GpuDevice Imaginary => new("no device", (9, 0), 132);

    /// <summary>The CUdevice.</summary>
    public int Handle { get; }

    public string Name { get; }

    public long MemoryBytes { get; }

    /// <summary>The compute capability: (9, 0) for an H200.</summary>
    public (int Major, int Minor) Compute { get; }

    public int Multiprocessors { get; }

    /// <summary>The most shared memory that one block may ask for, static and dynamic together.</summary>
    public int SharedBytesPerBlock { get; }

    /// <summary>
    /// The compiler's name for the device's real architecture: "sm_80". "sm_90a" on 9.0: the instructions that only that
    /// chip has come with the letter.
    /// </summary>
    public string Architecture => Compute switch
    {
        (9, 0) => "sm_90a",
        var (major, minor) => $"sm_{major}{minor}",
    };

    /// <summary>How many devices there are.</summary>
    public static int Count(CudaDriver cuda)
    {
        int count;
        int result = cuda.cuDeviceGetCount(&count);
        if (result == CudaResults.NoDevice)
        {
            return 0;
        }
        cuda.Check(result, "cuDeviceGetCount(&count)");
        return count;
    }

    /// <summary>The device of an ordinal, counted from 0.</summary>
    public static GpuDevice Open(CudaDriver cuda, int ordinal)
    {
        int handle;
        int count = Count(cuda);
        if ((uint)ordinal >= (uint)count)
        {
            throw new DeviceException($"Device {ordinal} was asked for, but {cuda.Path} shows {count} devices. " +
                "Use a lower number, or see CUDA_VISIBLE_DEVICES.");
        }
        cuda.Check(cuda.cuDeviceGet(&handle, ordinal));
        return new(cuda, handle);
    }

    internal static GpuDevice FromHandle(CudaDriver cuda, int handle) => new(cuda, handle);

    public int Attribute(DeviceAttribute attribute)
    {
        int value;
        cuda.Check(cuda.cuDeviceGetAttribute(&value, attribute, Handle));
        return value;
    }

    public override string ToString() => $"{Name} (compute {Compute.Major}.{Compute.Minor})";
}
