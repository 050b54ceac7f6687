using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

public sealed class KernelCompilerTests : IDisposable
{
#pragma warning disable CS0649
    struct Args
    {
        public nint Y;
    }
#pragma warning restore CS0649

    const string Good = """
        #include "shared/two.cuh"
        struct FillArgs { float* y; };
        extern "C" __global__ void fill(const __grid_constant__ FillArgs args) { args.y[threadIdx.x] = two() * SCALE; }
        """;

    readonly string folder = Directory.CreateTempSubdirectory("kvcuda-cache-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    static KernelSource<Args> Source(int scale = 3) => new("fill.cu", ("SCALE", scale));

    KernelCompiler Compiler(string header = "__device__ float two() { return 2; }", string kernel = Good, bool cached = false) =>
        new(NvrtcMachine.Compiler, "sm_90a",
            KernelFiles.From(new Dictionary<string, string> { ["kernels/fill.cu"] = kernel, ["kernels/shared/two.cuh"] = header }),
            cached ? KernelCache.Open(Path.Combine(folder, "kernels"), out _) : null);

    [Fact]
    public void A_kernel_compiles_for_a_device_that_is_not_there_and_its_cost_is_known()
    {
        CompiledKernel kernel = Compiler().Compile(Source());
        Assert.Equal("\u007fELF"u8, kernel.Cubin.AsSpan(0, 4));
        Assert.InRange(kernel.Usage!.Value.Registers, 1, 40);
        Assert.Equal(0, kernel.Usage.Value.SpillBytes);
    }

    [Fact]
    public void An_error_names_the_repositorys_file_and_line()
    {
        string message = Assert.Throws<DeviceException>(
            () => Compiler(kernel: Good.Replace("two()", "three()", StringComparison.Ordinal)).Compile(Source())).Message;
        Assert.Contains("kernels/fill.cu(3): error: identifier \"three\" is undefined", message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_error_in_a_header_names_the_header()
    {
        string message = Assert.Throws<DeviceException>(
            () => Compiler(header: "\n__device__ float two() { return tow; }").Compile(Source())).Message;
        Assert.Contains("kernels/shared/two.cuh(2): error", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("#include <cuda_fp16.h>")]
    [InlineData("#include \"shared/absent.cuh\"")]
    public void An_include_from_elsewhere_is_refused_by_name(string include)
    {
        string message = Assert.Throws<DeviceException>(() => Compiler(kernel: include + "\n" + Good).Compile(Source())).Message;
        Assert.Contains(include, message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_second_compilation_comes_from_the_cache_and_is_the_same()
    {
        CompiledKernel first = Compiler(cached: true).Compile(Source());
        CompiledKernel second = Compiler(cached: true).Compile(Source());
        Assert.False(first.FromCache);
        Assert.True(second.FromCache);
        Assert.Equal(first.Cubin, second.Cubin);
        Assert.Equal(first.Usage, second.Usage);
    }

    [Fact]
    public void Another_constant_header_or_kernel_text_is_another_entry()
    {
        Compiler(cached: true).Compile(Source());
        Assert.False(Compiler(cached: true).Compile(Source(scale: 4)).FromCache);
        Assert.False(Compiler(cached: true, header: "__device__ float two() { return 2.5f; }").Compile(Source()).FromCache);
        Assert.False(Compiler(cached: true, kernel: Good + "\n// ").Compile(Source()).FromCache);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(20)]
    [InlineData(400)]
    public void A_damaged_entry_is_compiled_again_and_healed(int damagedByte)
    {
        Compiler(cached: true).Compile(Source());
        string entry = Assert.Single(Directory.GetFiles(Path.Combine(folder, "kernels")));
        byte[] bytes = File.ReadAllBytes(entry);
        bytes[damagedByte] ^= 1;
        File.WriteAllBytes(entry, bytes);
        Assert.False(Compiler(cached: true).Compile(Source()).FromCache);
        Assert.True(Compiler(cached: true).Compile(Source()).FromCache);
    }

    [Fact]
    public void A_truncated_entry_is_compiled_again()
    {
        Compiler(cached: true).Compile(Source());
        string entry = Assert.Single(Directory.GetFiles(Path.Combine(folder, "kernels")));
        File.WriteAllBytes(entry, File.ReadAllBytes(entry)[..30]);
        Assert.False(Compiler(cached: true).Compile(Source()).FromCache);
    }
}
