using System.Runtime.InteropServices;

namespace KvCuda.Interop;

/// <summary>CUdevice_attribute: the ones that are read.</summary>
internal enum DeviceAttribute
{
    MaxThreadsPerBlock = 1,
    SharedBytesPerBlock = 8,
    ClockKilohertz = 13,
    Multiprocessors = 16,
    MemoryClockKilohertz = 36,
    MemoryBusBits = 37,
    L2Bytes = 38,
    ComputeMajor = 75,
    ComputeMinor = 76,
    CooperativeLaunch = 95,
    SharedBytesPerBlockOptIn = 97,
}

/// <summary>CUfunction_attribute.</summary>
internal enum FunctionAttribute
{
    MaxThreadsPerBlock = 0,
    SharedBytes = 1,
    ConstantBytes = 2,
    LocalBytes = 3,
    Registers = 4,
    MaxDynamicSharedBytes = 8,
    NonPortableClusterSizeAllowed = 14,
}

/// <summary>CUlaunchAttributeID: the ones that are set.</summary>
internal enum LaunchAttributeId
{
    Cooperative = 2,
    ClusterDimension = 4,
    ProgrammaticStreamSerialization = 6,
}

/// <summary>CUlaunchAttribute: an id, and a union of 64 bytes of which the first three words are used here.</summary>
[StructLayout(LayoutKind.Explicit, Size = 72)]
internal struct LaunchAttribute
{
    [FieldOffset(0)] public LaunchAttributeId Id;
    [FieldOffset(8)] public int X;
    [FieldOffset(12)] public int Y;
    [FieldOffset(16)] public int Z;
}

/// <summary>CUlaunchConfig.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct LaunchConfig
{
    public uint GridX, GridY, GridZ;
    public uint BlockX, BlockY, BlockZ;
    public uint SharedBytes;
    public nint Stream;
    public LaunchAttribute* Attributes;
    public uint AttributeCount;
}
