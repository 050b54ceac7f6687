using KvCuda.Kernels;
using KvCuda.Tensors;
using KvCuda.Tests.Kernels;

namespace KvCuda.Tests.HostRunner;

/// <summary>
/// The tensor core of compute capability 9.0 as ptx.cuh has it: one product of a warpgroup, its operands placed by hand in the
/// 128-byte swizzle. On the host runner this tests the twins; on a GPU of that kind the PTX and the layout.
/// </summary>
public class WgmmaTests
{
    const int Rows = 64, Columns = 128, Depth = 64;

    struct WgmmaProbeArgs
    {
        public nint Y, A, B;
    }

    const string Probe = """
        #include "shared/numeric.cuh"
        struct WgmmaProbeArgs { float* y; const u16* a; const u16* b; };
        extern "C" __global__ void __launch_bounds__(128) wgmma_probe(const __grid_constant__ WgmmaProbeArgs args)
        {
            SMEM_DYN(shared);
            u8* lines = shared + (1024 - shared_address(shared) % 1024) % 1024;
            for (i32 i = threadIdx.x; i < (64 + 128) * 64; i += 128) {
                const i32 line = i / 64, piece = i % 64 / 8;
                const u16 bits = line < 64 ? args.a[i] : args.b[i - 64 * 64];
                *(u16*)(lines + line * 128 + (piece ^ line % 8) * 16 + i % 8 * 2) = bits;
            }
            fence_proxy_async();
            __syncthreads();
            float d[64];
            for (i32 i = 0; i < 64; i++) d[i] = 0.5f;
            wgmma_fence();
            for (i32 k = 0; k < 4; k++) {
                wgmma_m64n128k16_bf16(d, swizzled_lines(lines + k * 32), swizzled_lines(lines + 64 * 128 + k * 32));
            }
            wgmma_commit();
        #ifndef FORGETS_TO_WAIT
            wgmma_wait<0>();
        #endif
            const i32 row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
            for (i32 n = 0; n < 64; n++) {
                args.y[(row + n % 4 / 2 * 8) * 128 + n / 4 * 8 + column + n % 2] = d[n];
            }
        #ifdef FORGETS_TO_WAIT
            wgmma_wait<0>();
        #endif
        }
        SIMT_KERNEL(wgmma_probe);
        """;

    [Fact]
    public void A_product_of_a_warpgroup_is_a_matrix_product()
    {
        ushort[] a = Numbers(Rows * Depth, 1), b = Numbers(Columns * Depth, 2);
        float[] y = Run(a, b);
        for (int row = 0; row < Rows; row++)
        {
            for (int column = 0; column < Columns; column++)
            {
                float expected = 0.5f;
                for (int k = 0; k < Depth; k++)
                {
                    expected += BF16.ToSingle(a[(row * Depth) + k]) * BF16.ToSingle(b[(column * Depth) + k]);
                }
                Assert.True(expected == y[(row * Columns) + column], $"({row}, {column}): expected {expected}, got {y[(row * Columns) + column]}");
            }
        }
    }

    [Fact]
    public void Who_does_not_wait_for_a_product_finds_no_sums()
    {
        Assert.SkipWhen(TestDevice.IsGpu, "what is in the registers of a product under way is not defined on a GPU");
        float[] y = Run(Numbers(Rows * Depth, 1), Numbers(Columns * Depth, 2), ("FORGETS_TO_WAIT", 1));
        Assert.All(y, value => Assert.True(float.IsNaN(value)));
    }

    // Multiples of 1/8 in [-1, 1): 64 products of them are exact in f32 in any order.
    static ushort[] Numbers(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => BF16.FromSingle(random.Next(-8, 8) / 8f))];
    }

    static float[] Run(ushort[] a, ushort[] b, params ReadOnlySpan<(string, object)> constants)
    {
        using TestDevice device = TestDevice.Open(KernelFiles.From(new Dictionary<string, string> { ["kernels/ptx/wgmma_probe.cu"] = Probe }));
        Assert.SkipWhen(device.Context.Device.Architecture != "sm_90a", $"only compute capability 9.0 has wgmma; this is {device.Context.Device}");
        const int shared = 1024 + ((Rows + Columns) * Depth * 2);
        Kernel<WgmmaProbeArgs> kernel = device.Library.Load(new KernelSource<WgmmaProbeArgs>("ptx/wgmma_probe.cu", constants), shared);
        device.Library.Complete();
        DeviceArray<float> y = device.Output<float>(Rows * Columns);
        kernel.Launch(device.Stream, new Grid(1, 128) { SharedBytes = shared },
            new() { Y = y.Address, A = device.Upload<ushort>(a).Address, B = device.Upload<ushort>(b).Address });
        return y.Read();
    }
}
