using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KvCuda.Gpu;

namespace KvCuda.GpuBench;

/// <summary>cuBLAS as a yardstick: the rate of a plain bf16 product with f32 accumulation. The engine never uses it.</summary>
internal sealed unsafe class Cublas : IDisposable
{
    const int OperationTransposed = 1, OperationNone = 0;
    const int BFloat16 = 14, Float32 = 0; // cudaDataType
    const int ComputeFloat32 = 68;        // cublasComputeType_t
    const int DefaultAlgorithm = -1;

    readonly nint handle;
    readonly delegate* unmanaged<nint, int> destroy;
    readonly delegate* unmanaged<nint, int, int, int, int, int, void*, nint, int, int, nint, int, int, void*, nint, int, int, int, int, int> gemm;

    Cublas(nint library, GpuStream stream)
    {
        var create = (delegate* unmanaged<nint*, int>)NativeLibrary.GetExport(library, "cublasCreate_v2");
        var setStream = (delegate* unmanaged<nint, nint, int>)NativeLibrary.GetExport(library, "cublasSetStream_v2");
        destroy = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "cublasDestroy_v2");
        gemm = (delegate* unmanaged<nint, int, int, int, int, int, void*, nint, int, int, nint, int, int, void*, nint, int, int, int, int, int>)
            NativeLibrary.GetExport(library, "cublasGemmEx");
        nint created;
        Check(create(&created));
        handle = created;
        Check(setStream(handle, stream.Handle));
    }

    /// <summary>Null where there is no cuBLAS: then no ratio is printed.</summary>
    public static Cublas? TryOpen(GpuStream stream)
    {
        string[] names = OperatingSystem.IsWindows()
            ? ["cublas64_13.dll", "cublas64_12.dll"]
            : ["libcublas.so.13", "libcublas.so.12", "/usr/local/cuda/lib64/libcublas.so", "libcublas.so"];
        foreach (string name in names)
        {
            if (NativeLibrary.TryLoad(name, out nint library))
            {
                return new(library, stream);
            }
        }
        return null;
    }

    /// <summary>y = x · weightᵀ in bf16: (rows, inputs) by (outputs, inputs).</summary>
    public void Multiply(nint y, nint x, nint weight, int rows, int inputs, int outputs)
    {
        float one = 1, zero = 0;
        // Column-major: yᵀ (outputs, rows) = weight (as stored, transposed) · xᵀ.
        Check(gemm(handle, OperationTransposed, OperationNone, outputs, rows, inputs, &one, weight, BFloat16, inputs,
            x, BFloat16, inputs, &zero, y, BFloat16, outputs, ComputeFloat32, DefaultAlgorithm));
    }

    public void Dispose() => _ = destroy(handle);

    static void Check(int status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != 0)
        {
            throw new DeviceException($"{call} returned cublasStatus {status}.");
        }
    }
}
