using KvCuda.Backends.Cuda;
using KvCuda.Gpu;
using KvCuda.Interop;
using KvCuda.Kernels;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>
/// What this device can do at best, measured in the same run: copy bandwidth (bytes read plus bytes written), read bandwidth,
/// and cuBLAS's rate. Every other figure is printed as a share of one of these.
/// </summary>
/// <param name="CopyBytesPerSecond">device to device, both directions counted</param>
/// <param name="ReadBytesPerSecond">a sum over memory that is read once</param>
/// <param name="CublasFlopsPerSecond">bf16 with f32 accumulation, 8192 cubed; 0 where there is no cuBLAS</param>
internal sealed record Ceilings(double CopyBytesPerSecond, double ReadBytesPerSecond, double CublasFlopsPerSecond)
{
    const string ReadSum = """
        // read_sum: sums[block] = the sum of the block's share of x, to see how fast memory can be read
        #include "shared/types.cuh"

        struct ReadSumArgs {
            const uint4* x;      // (count)
            unsigned*    sums;   // (blocks)
            long long    count;
        };
        extern "C" __global__ void __launch_bounds__(512) read_sum(const __grid_constant__ ReadSumArgs args)
        {
            unsigned sum = 0;
            const long long step = (long long)gridDim.x * 512;
            long long i = (long long)blockIdx.x * 512 + threadIdx.x;
            for (; i + 7 * step < args.count; i += 8 * step) {
                uint4 v[8];
        #pragma unroll
                for (int n = 0; n < 8; n++) v[n] = args.x[i + n * step];
        #pragma unroll
                for (int n = 0; n < 8; n++) sum += v[n].x ^ v[n].y ^ v[n].z ^ v[n].w;
            }
            for (; i < args.count; i += step) {
                const uint4 v = args.x[i];
                sum += v.x ^ v.y ^ v.z ^ v.w;
            }
            // The sum is used, so that the loads are not dropped.
            atomicAdd(args.sums + blockIdx.x, sum);
        }
        SIMT_KERNEL(read_sum);
        """;

    struct ReadSumArgs
    {
        public nint X, Sums;
        public long Count;
    }

    /// <summary>Measures all three.</summary>
    public static Ceilings Measure(CudaLibraries libraries, GpuContext context, GpuStream stream, long bytes, int cube)
    {
        using GpuContext.Scope scope = context.Enter();
        using var stopwatch = new DeviceStopwatch(stream);
        using var source = new GpuMemory(context, bytes, "the copy's source");
        using var destination = new GpuMemory(context, bytes, "the copy's destination");
        byte[] block = RandomBytes.Of(DType.BF16, (int)Math.Min(bytes / 2, 1 << 20));
        RandomBytes.Fill(bytes, block, part => Write(stream, source.Address, part),
            (to, from, count) => stream.Copy(source.Address + (nint)to, source.Address + (nint)from, count));
        double copy = stopwatch.Microseconds(_ => stream.Copy(destination.Address, source.Address, bytes));

        var compiler = new KernelCompiler(libraries.Compiler, context.Device.Architecture,
            KernelFiles.From(new Dictionary<string, string> { ["kernels/read_sum.cu"] = ReadSum }), cache: null);
        using var library = new KernelLibrary(context, compiler);
        Kernel<ReadSumArgs> kernel = library.Load(new KernelSource<ReadSumArgs>("read_sum.cu"));
        library.Complete();
        var grid = new Grid(context.Device.Multiprocessors * 4, 512);
        var args = new ReadSumArgs { X = source.Address, Sums = destination.Address, Count = bytes / 16 };
        double read = stopwatch.Microseconds(_ => kernel.Launch(stream, grid, args));

        double flops = 0;
        if (!libraries.Driver.IsHostRunner && Cublas.TryOpen(stream) is { } cublas)
        {
            using (cublas)
            {
                long side = 2L * cube * cube;
                double time = stopwatch.Microseconds(_ => cublas.Multiply(
                    destination.Address, source.Address, source.Address + (nint)side, cube, cube, cube));
                flops = 2.0 * cube * cube * cube / (time * 1e-6);
            }
        }
        return new(2.0 * bytes / (copy * 1e-6), bytes / (read * 1e-6), flops);
    }

    static unsafe void Write(GpuStream stream, nint destination, byte[] bytes)
    {
        fixed (byte* pointer = bytes)
        {
            stream.CopyToDevice(destination, pointer, bytes.Length);
            stream.Synchronize();
        }
    }
}
