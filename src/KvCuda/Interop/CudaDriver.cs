using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KvCuda.Interop;

/// <summary>
/// The driver's functions that KvCuda calls, under their own names, from a library that was found by name: libcuda, or a
/// stand-in that exports the same names (the host runner). All return a CUresult; <see cref="Check"/> turns a bad one into
/// an error with the call's own text.
/// </summary>
internal sealed unsafe class CudaDriver : NativeFunctions
{
    // Version and errors
    public readonly delegate* unmanaged<uint, int> cuInit;
    public readonly delegate* unmanaged<int*, int> cuDriverGetVersion;
    public readonly delegate* unmanaged<int, byte**, int> cuGetErrorName;

    // Devices and contexts
    public readonly delegate* unmanaged<int*, int> cuDeviceGetCount;
    public readonly delegate* unmanaged<int*, int, int> cuDeviceGet;
    public readonly delegate* unmanaged<byte*, int, int, int> cuDeviceGetName;
    public readonly delegate* unmanaged<int*, DeviceAttribute, int, int> cuDeviceGetAttribute;
    public readonly delegate* unmanaged<nuint*, int, int> cuDeviceTotalMem;
    public readonly delegate* unmanaged<nint*, int, int> cuDevicePrimaryCtxRetain;
    public readonly delegate* unmanaged<int, int> cuDevicePrimaryCtxRelease;
    public readonly delegate* unmanaged<nint, int> cuCtxPushCurrent;
    public readonly delegate* unmanaged<nint*, int> cuCtxPopCurrent;
    public readonly delegate* unmanaged<int*, int> cuCtxGetDevice;

    // Memory
    public readonly delegate* unmanaged<nuint*, nuint*, int> cuMemGetInfo;
    public readonly delegate* unmanaged<nint*, nuint, int> cuMemAlloc;
    public readonly delegate* unmanaged<nint, int> cuMemFree;
    public readonly delegate* unmanaged<nint*, nuint, uint, int> cuMemHostAlloc;
    public readonly delegate* unmanaged<nint, int> cuMemFreeHost;
    public readonly delegate* unmanaged<nint, void*, nuint, nint, int> cuMemcpyHtoDAsync;
    public readonly delegate* unmanaged<void*, nint, nuint, nint, int> cuMemcpyDtoHAsync;
    public readonly delegate* unmanaged<nint, nint, nuint, nint, int> cuMemcpyDtoDAsync;
    public readonly delegate* unmanaged<nint, byte, nuint, nint, int> cuMemsetD8Async;

    // Code
    public readonly delegate* unmanaged<nint*, void*, int> cuModuleLoadData;
    public readonly delegate* unmanaged<nint, int> cuModuleUnload;
    public readonly delegate* unmanaged<nint*, nint, byte*, int> cuModuleGetFunction;
    public readonly delegate* unmanaged<int*, FunctionAttribute, nint, int> cuFuncGetAttribute;
    public readonly delegate* unmanaged<nint, FunctionAttribute, int, int> cuFuncSetAttribute;
    public readonly delegate* unmanaged<int*, nint, int, nuint, int> cuOccupancyMaxActiveBlocksPerMultiprocessor;
    public readonly delegate* unmanaged<LaunchConfig*, nint, void**, void**, int> cuLaunchKernelEx;

    // Streams, events, graphs
    public readonly delegate* unmanaged<nint*, uint, int> cuStreamCreate;
    public readonly delegate* unmanaged<nint, int> cuStreamDestroy;
    public readonly delegate* unmanaged<nint, int> cuStreamSynchronize;
    public readonly delegate* unmanaged<nint, nint, uint, int> cuStreamWaitEvent;
    public readonly delegate* unmanaged<nint, int, int> cuStreamBeginCapture;
    public readonly delegate* unmanaged<nint, nint*, int> cuStreamEndCapture;
    public readonly delegate* unmanaged<nint*, uint, int> cuEventCreate;
    public readonly delegate* unmanaged<nint, int> cuEventDestroy;
    public readonly delegate* unmanaged<nint, nint, int> cuEventRecord;
    public readonly delegate* unmanaged<nint, int> cuEventSynchronize;
    public readonly delegate* unmanaged<float*, nint, nint, int> cuEventElapsedTime;
    public readonly delegate* unmanaged<nint*, nint, ulong, int> cuGraphInstantiateWithFlags;
    public readonly delegate* unmanaged<nint, nint, int> cuGraphLaunch;
    public readonly delegate* unmanaged<nint, int> cuGraphExecDestroy;
    public readonly delegate* unmanaged<nint, int> cuGraphDestroy;

    /// <summary>Binds the functions of a loaded library.</summary>
    /// <exception cref="DeviceException">One of them is missing: the driver is older than CUDA 12.</exception>
    public CudaDriver(nint library, string path) : base(library, path)
    {
        cuInit = (delegate* unmanaged<uint, int>)Export("cuInit");
        cuDriverGetVersion = (delegate* unmanaged<int*, int>)Export("cuDriverGetVersion");
        cuGetErrorName = (delegate* unmanaged<int, byte**, int>)Export("cuGetErrorName");
        cuDeviceGetCount = (delegate* unmanaged<int*, int>)Export("cuDeviceGetCount");
        cuDeviceGet = (delegate* unmanaged<int*, int, int>)Export("cuDeviceGet");
        cuDeviceGetName = (delegate* unmanaged<byte*, int, int, int>)Export("cuDeviceGetName");
        cuDeviceGetAttribute = (delegate* unmanaged<int*, DeviceAttribute, int, int>)Export("cuDeviceGetAttribute");
        cuDeviceTotalMem = (delegate* unmanaged<nuint*, int, int>)Export("cuDeviceTotalMem_v2");
        cuDevicePrimaryCtxRetain = (delegate* unmanaged<nint*, int, int>)Export("cuDevicePrimaryCtxRetain");
        cuDevicePrimaryCtxRelease = (delegate* unmanaged<int, int>)Export("cuDevicePrimaryCtxRelease_v2");
        cuCtxPushCurrent = (delegate* unmanaged<nint, int>)Export("cuCtxPushCurrent_v2");
        cuCtxPopCurrent = (delegate* unmanaged<nint*, int>)Export("cuCtxPopCurrent_v2");
        cuCtxGetDevice = (delegate* unmanaged<int*, int>)Export("cuCtxGetDevice");
        cuMemGetInfo = (delegate* unmanaged<nuint*, nuint*, int>)Export("cuMemGetInfo_v2");
        cuMemAlloc = (delegate* unmanaged<nint*, nuint, int>)Export("cuMemAlloc_v2");
        cuMemFree = (delegate* unmanaged<nint, int>)Export("cuMemFree_v2");
        cuMemHostAlloc = (delegate* unmanaged<nint*, nuint, uint, int>)Export("cuMemHostAlloc");
        cuMemFreeHost = (delegate* unmanaged<nint, int>)Export("cuMemFreeHost");
        cuMemcpyHtoDAsync = (delegate* unmanaged<nint, void*, nuint, nint, int>)Export("cuMemcpyHtoDAsync_v2");
        cuMemcpyDtoHAsync = (delegate* unmanaged<void*, nint, nuint, nint, int>)Export("cuMemcpyDtoHAsync_v2");
        cuMemcpyDtoDAsync = (delegate* unmanaged<nint, nint, nuint, nint, int>)Export("cuMemcpyDtoDAsync_v2");
        cuMemsetD8Async = (delegate* unmanaged<nint, byte, nuint, nint, int>)Export("cuMemsetD8Async");
        cuModuleLoadData = (delegate* unmanaged<nint*, void*, int>)Export("cuModuleLoadData");
        cuModuleUnload = (delegate* unmanaged<nint, int>)Export("cuModuleUnload");
        cuModuleGetFunction = (delegate* unmanaged<nint*, nint, byte*, int>)Export("cuModuleGetFunction");
        cuFuncGetAttribute = (delegate* unmanaged<int*, FunctionAttribute, nint, int>)Export("cuFuncGetAttribute");
        cuFuncSetAttribute = (delegate* unmanaged<nint, FunctionAttribute, int, int>)Export("cuFuncSetAttribute");
        cuOccupancyMaxActiveBlocksPerMultiprocessor =
            (delegate* unmanaged<int*, nint, int, nuint, int>)Export("cuOccupancyMaxActiveBlocksPerMultiprocessor");
        cuLaunchKernelEx = (delegate* unmanaged<LaunchConfig*, nint, void**, void**, int>)Export("cuLaunchKernelEx");
        cuStreamCreate = (delegate* unmanaged<nint*, uint, int>)Export("cuStreamCreate");
        cuStreamDestroy = (delegate* unmanaged<nint, int>)Export("cuStreamDestroy_v2");
        cuStreamSynchronize = (delegate* unmanaged<nint, int>)Export("cuStreamSynchronize");
        cuStreamWaitEvent = (delegate* unmanaged<nint, nint, uint, int>)Export("cuStreamWaitEvent");
        cuStreamBeginCapture = (delegate* unmanaged<nint, int, int>)Export("cuStreamBeginCapture_v2");
        cuStreamEndCapture = (delegate* unmanaged<nint, nint*, int>)Export("cuStreamEndCapture");
        cuEventCreate = (delegate* unmanaged<nint*, uint, int>)Export("cuEventCreate");
        cuEventDestroy = (delegate* unmanaged<nint, int>)Export("cuEventDestroy_v2");
        cuEventRecord = (delegate* unmanaged<nint, nint, int>)Export("cuEventRecord");
        cuEventSynchronize = (delegate* unmanaged<nint, int>)Export("cuEventSynchronize");
        cuEventElapsedTime = (delegate* unmanaged<float*, nint, nint, int>)Export("cuEventElapsedTime");
        cuGraphInstantiateWithFlags = (delegate* unmanaged<nint*, nint, ulong, int>)Export("cuGraphInstantiateWithFlags");
        cuGraphLaunch = (delegate* unmanaged<nint, nint, int>)Export("cuGraphLaunch");
        cuGraphExecDestroy = (delegate* unmanaged<nint, int>)Export("cuGraphExecDestroy");
        cuGraphDestroy = (delegate* unmanaged<nint, int>)Export("cuGraphDestroy");
    }

    /// <summary>The CUDA version that the driver speaks: 12040 for 12.4. Needs no initialisation.</summary>
    public int Version()
    {
        int version;
        Check(cuDriverGetVersion(&version));
        return version;
    }

    /// <summary>Must come before everything else; again is harmless.</summary>
    public void Initialise() => Check(cuInit(0));

    /// <summary>Throws unless the call succeeded.</summary>
    /// <param name="result">what the call returned</param>
    /// <param name="call">the call's text, which the compiler fills in</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Check(int result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result != 0)
        {
            throw Failure(result, call);
        }
    }

    /// <summary>The error for a failed call: its text, the result's name, and what that usually means.</summary>
    public DeviceException Failure(int result, string call)
    {
        byte* name = null;
        string known = cuGetErrorName(result, &name) == 0 && name != null ? Marshal.PtrToStringUTF8((nint)name)! : "an unknown result";
        string advice = CudaResults.Meaning(result) is { } meaning ? $" Usually: {meaning}" : "";
        string detail = LastError() is { Length: > 0 } text ? $" {text}" : "";
        return new($"{call} returned {known} ({result}).{advice}{detail}");
    }
}
