using KvCuda.Kernels;
using KvCuda.Tensors;

namespace KvCuda.Tests.Kernels;

public class KvLayoutContractTests
{
#pragma warning disable CS0649
    struct Args
    {
        public nint Y;
    }
#pragma warning restore CS0649

    static string Compile(string from, string to)
    {
        const string kernel = """
            #include "shared/kv_layout.cuh"
            struct LayoutArgs { float* y; };
            extern "C" __global__ void layout(const __grid_constant__ LayoutArgs args)
            {
                *args.y = KvLayout{16, 2, 64, 32}.key_offset(0, 0, 1, 2);
            }
            """;
        string header = KernelFiles.Embedded.Text("kernels/shared/kv_layout.cuh");
        Assert.Contains(from, header, StringComparison.Ordinal);
        KernelCompiler compiler = NvrtcMachine.CompilerOf(
            ("kernels/layout.cu", kernel), ("kernels/shared/kv_layout.cuh", header.Replace(from, to, StringComparison.Ordinal)));
        try
        {
            return compiler.Compile(new KernelSource<Args>("layout.cu")).Log;
        }
        catch (DeviceException e)
        {
            return e.Message;
        }
    }

    [Fact]
    public void Equal_arithmetic_compiles() => Assert.DoesNotContain("error", Compile("head", "head"), StringComparison.Ordinal);

    [Theory]
    [InlineData("KV_GRANULE_BYTES 128", "KV_GRANULE_BYTES 256", "KvLayout{16, 2, 64, 16}.key_offset(1, 0, 0, 0) is 128 in C#")]
    [InlineData("head * head_bytes()", "token * head_bytes()", "KvLayout{16, 2, 64, 16}.key_offset(0, 0, 1, 0) is 2048 in C#")]
    [InlineData("kv_heads * head_bytes()", "(kv_heads + 1) * head_bytes()", "KvLayout{16, 2, 64, 16}.value_offset(0, 0, 0, 0) is 4096 in C#")]
    [InlineData("token * apart / 8", "token", "swizzled(6, 1)")]
    [InlineData("even < 8 ? even : 8", "pieces", "swizzled(5, 11)")]
    [InlineData("(i64)page * KV_GRANULE_BYTES", "(i64)(page * KV_GRANULE_BYTES)", "key_offset(1000000000")]
    public void Other_arithmetic_is_named_by_the_compiler(string right, string wrong, string expected) =>
        Assert.Contains(expected, Compile(right, wrong), StringComparison.Ordinal);
}
