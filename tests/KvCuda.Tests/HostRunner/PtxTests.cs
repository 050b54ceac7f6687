using System.Runtime.InteropServices;
using KvCuda.Kernels;
using KvCuda.Tests.Kernels;

namespace KvCuda.Tests.HostRunner;

/// <summary>
/// What each function of kernels/shared/ptx.cuh does, as tables computed here from the PTX ISA's text: a kernel that only
/// calls it, on random inputs. On the host runner this tests the twins (tests/HostRunner/ptx_host.h); with
/// KVCUDA_TEST_DEVICE=cuda the same tests the PTX itself, and so certify that both are the same.
/// </summary>
public unsafe class PtxTests
{
    /// <summary>Each test has one warp, up to three inputs and one output.</summary>
    struct PtxProbeArgs
    {
        public nint Y, A, B, C;
    }

    static U[] Run<U>(string body, int outputs, int[]? a = null, int[]? b = null, int[]? c = null, int blocks = 1, bool cooperative = false) where U : unmanaged
    {
        string text = $$"""
            #include "shared/grid.cuh"
            #include "shared/numeric.cuh"
            struct PtxProbeArgs { u32* y; u32* a; u32* b; u32* c; };
            extern "C" __global__ void ptx_probe(const __grid_constant__ PtxProbeArgs args)
            {
                __shared__ __align__(128) u8 shared[2048];
                const u32 lane = threadIdx.x;
                for (int i = lane; i < 512; i += 32) {
                    ((u32*)shared)[i] = 0;
                }
                __syncthreads();
                {{body}}
            }
            SIMT_KERNEL(ptx_probe);
            """;
        using TestDevice device = TestDevice.Open(KernelFiles.From(new Dictionary<string, string> { ["kernels/ptx/ptx_probe.cu"] = text }));
        Kernel<PtxProbeArgs> kernel = device.Library.Load(new KernelSource<PtxProbeArgs>("ptx/ptx_probe.cu"), 0);
        device.Library.Complete();
        DeviceArray<U> y = device.Output<U>(outputs);
        nint Input(int[]? values) => values is null ? 0 : device.Upload<int>(values).Address;
        var args = new PtxProbeArgs { Y = y.Address, A = Input(a), B = Input(b), C = Input(c) };
        kernel.Launch(device.Stream, new Grid(blocks, 32) { Cooperative = cooperative }, args);
        return y.Read();
    }

    static int[] Words(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(int.MinValue, int.MaxValue))];
    }

    // 16-bit floats in [-2, 2), exact in both formats.
    static ushort[] Halves(int count, int seed, bool bf16)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => Bits(random.Next(-128, 128) / 64f, bf16))];
    }

    static ushort Bits(float value, bool bf16) => bf16 ? KvCuda.Tensors.BF16.FromSingle(value) : BitConverter.HalfToUInt16Bits((Half)value);

    static float Value(ushort bits, bool bf16) => bf16 ? KvCuda.Tensors.BF16.ToSingle(bits) : (float)BitConverter.UInt16BitsToHalf(bits);

    [Theory]
    [InlineData(4, "uint4 v = ld_stream_16(args.a + 4 * lane); args.y[4 * lane] = v.x; args.y[4 * lane + 1] = v.y; args.y[4 * lane + 2] = v.z; args.y[4 * lane + 3] = v.w;")]
    [InlineData(2, "uint2 v = ld_stream_8(args.a + 2 * lane); args.y[2 * lane] = v.x; args.y[2 * lane + 1] = v.y;")]
    [InlineData(1, "args.y[lane] = ld_stream_4(args.a + lane);")]
    [InlineData(1, "prefetch_l2(args.a + lane); args.y[lane] = args.a[lane];")]
    public void A_streaming_load_reads_what_is_there(int wordsPerLane, string body)
    {
        int[] input = Words(32 * wordsPerLane, 1);
        Assert.Equal(input, Run<int>(body, input.Length, input));
    }

    [Theory]
    [InlineData("cp_async_16(shared + 16 * lane, args.a + 4 * lane);", 4)]
    [InlineData("cp_async_16_l1(shared + 16 * lane, args.a + 4 * lane);", 4)]
    [InlineData("cp_async_8(shared + 16 * lane, args.a + 4 * lane);", 2)]
    [InlineData("cp_async_4(shared + 16 * lane, args.a + 4 * lane);", 1)]
    public void An_asynchronous_copy_has_arrived_after_its_wait(string copy, int words)
    {
        int[] input = Words(128, 2);
        int[] output = Run<int>(copy + " cp_async_commit(); cp_async_wait<0>(); for (int i = 0; i < 4; i++) args.y[4 * lane + i] = ((u32*)shared)[4 * lane + i];", 128, input);
        Assert.Equal(input.Select((v, i) => i % 4 < words ? v : 0), output);
    }

    [Fact]
    public void An_invalid_asynchronous_copy_gives_zeros()
    {
        int[] input = Words(128, 3);
        int[] output = Run<int>("""
            ((u32*)shared)[4 * lane] = 7;
            cp_async_16_or_zero(shared + 16 * lane, args.a + 4 * lane, lane % 3 != 0);
            cp_async_commit();
            cp_async_wait<0>();
            for (int i = 0; i < 4; i++) args.y[4 * lane + i] = ((u32*)shared)[4 * lane + i];
            """, 128, input);
        Assert.Equal(input.Select((v, i) => i / 4 % 3 != 0 ? v : 0), output);
    }

    [Fact]
    public void Waiting_for_all_but_one_group_completes_the_older_one()
    {
        int[] input = Words(256, 4);
        int[] output = Run<int>("""
            cp_async_16(shared + 16 * lane, args.a + 4 * lane);
            cp_async_commit();
            cp_async_16(shared + 512 + 16 * lane, args.a + 128 + 4 * lane);
            cp_async_commit();
            cp_async_wait<1>();
            args.y[lane] = ((u32*)shared)[4 * lane];
            cp_async_wait<0>();
            args.y[32 + lane] = ((u32*)shared)[128 + 4 * lane];
            """, 64, input);
        Assert.Equal(Enumerable.Range(0, 64).Select(i => input[4 * i]), output);
    }

    [Theory]
    [InlineData("ldmatrix_x4", 4, false)]
    [InlineData("ldmatrix_x4_trans", 4, true)]
    [InlineData("ldmatrix_x2", 2, false)]
    [InlineData("ldmatrix_x2_trans", 2, true)]
    public void Ldmatrix_gives_each_lane_its_pair(string function, int matrices, bool transposed)
    {
        // Row r of matrix m lies at 16 * order[8 m + r]: the lanes' addresses are in no order.
        int[] order = [.. Enumerable.Range(0, 32)];
        new Random(5).Shuffle(order);
        int[] data = Words(128, 6);
        ushort[] halves = MemoryMarshal.Cast<int, ushort>(data).ToArray();
        int[] output = Run<int>($$"""
            for (int i = lane; i < 128; i += 32) ((u32*)shared)[i] = args.a[i];
            __syncthreads();
            u32 r[{{matrices}}];
            {{function}}(r, shared + 16 * args.b[lane]);
            for (int i = 0; i < {{matrices}}; i++) args.y[{{matrices}} * lane + i] = r[i];
            """, 32 * matrices, data, order);
        for (int lane = 0; lane < 32; lane++)
        {
            for (int m = 0; m < matrices; m++)
            {
                int g = lane / 4, column = 2 * (lane % 4);
                ushort At(int row, int col) => halves[8 * order[8 * m + row] + col];
                (ushort low, ushort high) = transposed ? (At(column, g), At(column + 1, g)) : (At(g, column), At(g, column + 1));
                Assert.Equal(low | high << 16, output[matrices * lane + m]);
            }
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Mma_is_a_matrix_product(bool bf16)
    {
        ushort[] a = Halves(16 * 16, 7, bf16), b = Halves(16 * 8, 8, bf16);
        var random = new Random(9);
        float[] d = [.. Enumerable.Range(0, 16 * 8).Select(_ => random.Next(-64, 64) / 8f)];
        int[] fragmentsA = new int[128], fragmentsB = new int[64], fragmentsD = new int[128];
        var expected = new float[128];
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane / 4, c = 2 * (lane % 4);
            int PairA(int row, int column) => a[16 * row + column] | a[16 * row + column + 1] << 16;
            int PairB(int k, int column) => b[8 * k + column] | b[8 * (k + 1) + column] << 16; // two rows of k
            int[] mineA = [PairA(g, c), PairA(g + 8, c), PairA(g, c + 8), PairA(g + 8, c + 8)];
            mineA.CopyTo(fragmentsA, 4 * lane);
            fragmentsB[2 * lane] = PairB(c, g);
            fragmentsB[2 * lane + 1] = PairB(c + 8, g);
            (int Row, int Column)[] mine = [(g, c), (g, c + 1), (g + 8, c), (g + 8, c + 1)];
            for (int i = 0; i < 4; i++)
            {
                (int row, int column) = mine[i];
                double sum = d[8 * row + column];
                for (int k = 0; k < 16; k++)
                {
                    sum += (double)Value(a[16 * row + k], bf16) * Value(b[8 * k + column], bf16);
                }
                fragmentsD[4 * lane + i] = BitConverter.SingleToInt32Bits(d[8 * row + column]);
                expected[4 * lane + i] = (float)sum;
            }
        }
        string function = bf16 ? "mma_16816_bf16" : "mma_16816_f16";
        float[] output = Run<float>($$"""
            u32 a[4], b[2];
            float d[4];
            for (int i = 0; i < 4; i++) { a[i] = args.a[4 * lane + i]; d[i] = __uint_as_float(args.c[4 * lane + i]); }
            for (int i = 0; i < 2; i++) b[i] = args.b[2 * lane + i];
            {{function}}(d, a, b);
            for (int i = 0; i < 4; i++) args.y[4 * lane + i] = __float_as_uint(d[i]);
            """, 128, fragmentsA, fragmentsB, fragmentsD);
        // Every product is a multiple of 2^-12 and every sum below 2^8: exact in f32, whatever the order.
        Assert.Equal(expected, output);
    }

    // Numbers at which rounding is decided: ties, neighbours, overflow, denormals, signs, specials.
    static readonly float[] awkward =
    [
        .. new uint[]
        {
            0, 0x80000000, 0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000,
            0x00000001, 0x00400000, 0x33000000, 0x33000001, 0x33800000, 0x387FC000, 0x387FE000, 0x38800000, 0x477FE000, 0x477FEFFF,
            0x477FF000, 0x3F801000, 0x3F803000, 0x3F801001, 0xBF801000, 0x40490FDB, 0xC0490FDB, 0x2F000000, 0x7FC00000, 0x7F800001, 0xFFC00000,
        }.Select(BitConverter.UInt32BitsToSingle),
    ];

    static ushort Expected(float value, bool bf16) => float.IsNaN(value) ? (ushort)0x7FFF : Bits(value, bf16);

    [Theory]
    [InlineData("cvt_bf16", true)]
    [InlineData("cvt_f16", false)]
    public void Conversion_to_16_bits_rounds_to_nearest_even(string function, bool bf16)
    {
        int[] output = Run<int>($"args.y[lane] = {function}(__uint_as_float(args.a[lane]));", 32, Bits(awkward));
        Assert.Equal(awkward.Select(v => (int)Expected(v, bf16)), output);
    }

    [Theory]
    [InlineData("cvt_bf16x2", true)]
    [InlineData("cvt_f16x2", false)]
    public void Conversion_of_pairs_puts_the_first_number_low(string function, bool bf16)
    {
        int[] output = Run<int>($"args.y[lane] = {function}(__uint_as_float(args.a[lane]), __uint_as_float(args.a[31 - lane]));", 32, Bits(awkward));
        Assert.Equal(Enumerable.Range(0, 32).Select(i => Expected(awkward[i], bf16) | Expected(awkward[31 - i], bf16) << 16), output);
    }

    [Fact]
    public void Conversion_from_f16_is_exact()
    {
        ushort[] halves = [0, 0x8000, 1, 0x3FF, 0x400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x3555, .. Enumerable.Range(0, 20).Select(i => (ushort)(i * 3111 % 0x7C00))];
        float[] output = Run<float>("args.y[lane] = __float_as_uint(cvt_f32_from_f16((u16)args.a[lane]));", 32, [.. halves.Select(h => (int)h)]);
        Assert.Equal(halves.Select(h => (float)BitConverter.UInt16BitsToHalf(h)), output);
    }

    [Fact]
    public void Ex2_is_within_its_documented_error()
    {
        float[] x = [0, -0f, 1, -1, 0.5f, -0.5f, 126.99f, -126, -150, 128.5f, float.NegativeInfinity, float.PositiveInfinity, .. Enumerable.Range(0, 20).Select(i => i * 0.37f - 5)];
        float[] output = Run<float>("args.y[lane] = __float_as_uint(ex2(__uint_as_float(args.a[lane])));", 32, Bits(x));
        for (int i = 0; i < x.Length; i++)
        {
            double expected = Math.Pow(2, x[i]);
            float rounded = (float)expected;
            if (float.IsInfinity(rounded) || rounded < 1.17549435e-38f)
            {
                Assert.Equal(float.IsInfinity(rounded) ? rounded : 0, output[i]);
            }
            else
            {
                Assert.InRange(output[i] / expected, 1 - 2.5e-7, 1 + 2.5e-7); // 2^-22, PTX ISA 9.7.3.20
            }
        }
    }

    [Fact]
    public void Atomic_additions_return_each_number_once()
    {
        int[] output = Run<int>("""
            args.y[lane] = atom_add_acq_rel(args.a, 1);
            red_add_release(args.a + 1, lane);
            st_release(args.a + 2 + lane, lane * lane);
            __syncthreads();
            args.y[32 + lane] = ld_acquire(args.a + 1);
            args.y[64 + lane] = ld_acquire(args.a + 2 + lane);
            """, 96, new int[34]);
        Assert.Equal(Enumerable.Range(0, 32), output[..32].Order());
        Assert.All(output[32..64], sum => Assert.Equal(31 * 32 / 2, sum));
        Assert.Equal(Enumerable.Range(0, 32).Select(i => i * i), output[64..]);
    }

    [Fact]
    public void The_grid_barrier_separates_passes()
    {
        const int blocks = 4;
        int[] output = Run<int>("""
            const u32 count = 32 * gridDim.x, i = 32 * blockIdx.x + lane;
            args.b[i] = i;
            for (u32 pass = 0; pass < 5; pass++) {
                grid_barrier(args.a);
                u32 next = args.b[(i + 33) % count] + 1;
                grid_barrier(args.a);
                args.b[i] = next;
            }
            args.y[i] = args.b[i];
            """, 32 * blocks, new int[1], new int[32 * blocks], blocks: blocks, cooperative: true);
        Assert.Equal(Enumerable.Range(0, 32 * blocks).Select(i => (i + 5 * 33) % (32 * blocks) + 5), output);
    }

    [Fact]
    public void Dependency_controls_do_nothing_in_a_plain_launch() =>
        Assert.Equal(Enumerable.Range(0, 32), Run<int>("grid_dependency_wait(); grid_dependency_launch(); args.y[lane] = lane;", 32));

    static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];
}
