using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.Interop;
using KvCuda.Kernels;
using KvCuda.Tensors;
using KvCuda.Tests.Kernels;

namespace KvCuda.Tests.Backends.Cuda;

public sealed class CudaBackendTests
{
    /// <summary>The backend under test: on the host runner, or on a GPU where KVCUDA_TEST_DEVICE says so.</summary>
    internal static string Device
    {
        get
        {
            Assert.SkipWhen(!TestDevice.IsGpu && CudaLibraries.HostRunnerPath() is null,
                "no host runner on this machine: it needs g++ on x86-64 Linux");
            return TestDevice.IsGpu ? Environment.GetEnvironmentVariable("KVCUDA_TEST_DEVICE")! : "cuda-host";
        }
    }

    static CudaBackend Open() => CudaBackend.Open(Device, Numerics.Exact);

    static Tensor Upload(CudaBackend backend, int rows, int columns, params float[] values)
    {
        Tensor tensor = backend.Allocate("test", DType.F32, rows, columns);
        backend.Write(tensor, MemoryMarshal.AsBytes<float>(values));
        return tensor;
    }

    static float[] Read(CudaBackend backend, in Tensor tensor)
    {
        float[] values = new float[tensor.Count];
        backend.Read(MemoryMarshal.AsBytes(values.AsSpan()), tensor);
        return values;
    }

    [Fact]
    public void New_memory_is_zeroed_and_aligned()
    {
        using CudaBackend backend = Open();
        Tensor tensor = backend.Allocate("test", DType.F32, 3, 5);
        Assert.Equal(0, tensor.Address % 128);
        Assert.Equal(new float[15], Read(backend, tensor));
    }

    [Fact]
    public void A_source_may_change_as_soon_as_it_is_written()
    {
        using CudaBackend backend = Open();
        Tensor tensor = backend.Allocate("test", DType.I32, 1, 2_500_000); // more than both halves of the staging ring
        int[] values = [.. Enumerable.Range(0, tensor.Columns)];
        backend.Write(tensor, MemoryMarshal.AsBytes<int>(values));
        values.AsSpan().Clear();
        backend.Read(MemoryMarshal.AsBytes(values.AsSpan()), tensor);
        Assert.True(values.AsSpan().SequenceEqual([.. Enumerable.Range(0, tensor.Columns)]));
    }

    [Fact]
    public void Writes_and_verbs_happen_in_order()
    {
        using CudaBackend backend = Open();
        Tensor x = Upload(backend, 1, 2, 1, 2), y = backend.Allocate("y", DType.F32, 1, 2);
        Tensor index = backend.Allocate("index", DType.I32, 1, 1);
        backend.Gather(y, x, index);
        backend.Write(x, MemoryMarshal.AsBytes<float>(new float[] { 3, 4 }));
        Assert.Equal([1, 2], Read(backend, y));
        backend.Gather(y, x, index);
        Assert.Equal([3, 4], Read(backend, y));
    }

    [Fact]
    public unsafe void A_weight_is_copied_once_however_often_it_is_loaded()
    {
        using CudaBackend backend = Open();
        float[] numbers = [1, 2, 3];
        fixed (float* address = numbers)
        {
            var host = new Tensor("weight", DType.F32, (nint)address, 1, 3);
            Tensor first = backend.Load(host), second = backend.Load(host);
            Assert.Equal(first.Address, second.Address);
            Assert.Equal(numbers, Read(backend, first));
        }
    }

    [Fact]
    public void Calls_without_rows_do_nothing()
    {
        using CudaBackend backend = Open();
        Tensor x = Upload(backend, 1, 2, 1, 2), weight = Upload(backend, 1, 2, 1, 1);
        backend.RmsNorm(x.Top(0), x.Top(0), weight, 1e-5f);
        backend.MatMul(new("y", DType.F32, x.Address, 0, 1), x.Top(0), weight);
        Assert.Equal([1, 2], Read(backend, x));
    }

    [Fact]
    public void A_recorded_pass_reads_the_numbers_of_its_replay()
    {
        using CudaBackend backend = Open();
        Tensor x = Upload(backend, 1, 2, 1, 2), y = Upload(backend, 1, 2, 10, 10), index = backend.Allocate("index", DType.I32, 1, 1);
        for (int pass = 1; pass <= 4; pass++)
        {
            backend.Write(x, MemoryMarshal.AsBytes<float>(new float[] { pass, -pass }));
            bool replayed = backend.Replay(7);
            Assert.Equal(pass > 2, replayed); // walked, captured, replayed, replayed
            if (!replayed)
            {
                backend.BeginRecording(7);
                backend.Gather(y, x, index);
                backend.EndRecording();
            }
            Assert.Equal([pass, -pass], Read(backend, y));
        }
        Assert.Contains(("Gather", 4L), backend.Counters.Snapshot());
        Assert.Contains(("kernel gather_rows", 4L), backend.Counters.Snapshot());
    }

    [Fact]
    public void Freeing_memory_forgets_the_passes_that_may_hold_its_address()
    {
        using CudaBackend backend = Open();
        Tensor x = Upload(backend, 1, 2, 1, 2), y = backend.Allocate("y", DType.F32, 1, 2);
        Tensor index = backend.Allocate("index", DType.I32, 1, 1);
        for (int pass = 0; pass < 2; pass++)
        {
            backend.BeginRecording(1);
            backend.Gather(y, x, index);
            backend.EndRecording();
        }
        Assert.True(backend.Replay(1));
        backend.Free(x.Address);
        Assert.False(backend.Replay(1));
    }

    [Fact]
    public unsafe void After_a_failed_kernel_every_call_reports_the_first_failure()
    {
        Assert.SkipWhen(TestDevice.IsGpu, "on a GPU a failed kernel ends every other test of the process as well");
        _ = Device;
        // A context of its own, handed in as other CUDA code would: the failure stays there.
        CudaLibraries libraries = CudaLibraries.OfHostRunner();
        var create = (delegate* unmanaged<nint*, uint, int, int>)NativeLibrary.GetExport(libraries.Driver.Handle, "cuCtxCreate_v2");
        nint handle, popped;
        libraries.Driver.Check(create(&handle, 0, 0));
        libraries.Driver.Check(libraries.Driver.cuCtxPopCurrent(&popped));
        GpuContext context = GpuContext.External(libraries.Driver, handle);
        using CudaBackend backend = new(libraries, context, GpuStream.Create(context), KernelFiles.Embedded, Numerics.Exact);
        Tensor y = backend.Allocate("y", DType.F32, 1, 2), index = backend.Allocate("index", DType.I32, 1, 1);
        var wild = new Tensor("nowhere", DType.F32, 1 << 20, 1, 2);
        string first = Assert.Throws<DeviceException>(() =>
        {
            backend.Gather(y, wild, index);
            backend.Synchronize();
        }).Message;
        Assert.Contains("CUDA_ERROR", first, StringComparison.Ordinal);
        string second = Assert.Throws<DeviceException>(() => backend.Gather(y, y, index)).Message;
        Assert.Contains("failed earlier", second, StringComparison.Ordinal);
        Assert.Contains(first, second, StringComparison.Ordinal);
        Assert.Throws<DeviceException>(() => backend.Allocate("z", DType.F32, 1, 1));
    }

    [Fact]
    public void A_wrong_shape_is_told_in_the_verbs_words()
    {
        using CudaBackend backend = Open();
        Tensor x = Upload(backend, 1, 2, 1, 2), weight = Upload(backend, 1, 3, 1, 1, 1);
        string message = Assert.Throws<ArgumentException>(() => backend.RmsNorm(x, x, weight, 1e-5f)).Message;
        Assert.Contains("RmsNorm: weight (test) is (1, 3), expected (1, 2)", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gpu")]
    [InlineData("cuda:x")]
    [InlineData("cuda:-1")]
    public void An_unknown_device_is_refused_by_name(string device) => Assert.Contains($"'{device}'",
        Assert.Throws<InvalidRequestException>(() => BackendFactory.Create(device, threads: 1)).Message, StringComparison.Ordinal);
}
