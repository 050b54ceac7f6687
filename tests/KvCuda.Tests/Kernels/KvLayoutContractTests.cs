using KvCuda.Backends;
using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

public class KvLayoutContractTests
{
#pragma warning disable CS0649
    struct Args
    {
        public nint Y;
    }
#pragma warning restore CS0649

    const string Header = """
        constexpr int GRANULE_BYTES = 128;
        template <int PAGE_TOKENS, int HEAD_DIM> constexpr long long kv_element(int head, int token)
        {
            return ((long long)head * PAGE_TOKENS + token) * HEAD_DIM;
        }
        template <int PAGE_TOKENS, int HEAD_DIM> constexpr long long kv_elements(int kv_heads)
        {
            return (long long)kv_heads * PAGE_TOKENS * HEAD_DIM;
        }
        """;

    static string Compile(string header)
    {
        const string kernel = """
            #include "shared/kv_layout.cuh"
            struct LayoutArgs { float* y; };
            extern "C" __global__ void layout(const __grid_constant__ LayoutArgs args) { *args.y = kv_element<16, 64>(1, 2); }
            """;
        KernelCompiler compiler = NvrtcMachine.CompilerOf(("kernels/layout.cu", kernel), ("kernels/shared/kv_layout.cuh", header));
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
    public void Equal_arithmetic_compiles() => Assert.DoesNotContain("error", Compile(Header), StringComparison.Ordinal);

    [Theory]
    [InlineData("GRANULE_BYTES = 128", "GRANULE_BYTES = 256", "GRANULE_BYTES is 128 in C#")]
    [InlineData("head * PAGE_TOKENS + token", "token * PAGE_TOKENS + head", "kv_element<16, 64>(0, 1) is 64 in C#")]
    [InlineData("(long long)kv_heads * PAGE_TOKENS", "(long long)(kv_heads + 1) * PAGE_TOKENS", "kv_elements<16, 64>(1) is 1024 in C#")]
    [InlineData("((long long)head * PAGE_TOKENS + token)", "(head * PAGE_TOKENS + token)", "kv_element<128, 256>")]
    public void Other_arithmetic_is_named_by_the_compiler(string right, string wrong, string expected) =>
        Assert.Contains(expected, Compile(Header.Replace(right, wrong, StringComparison.Ordinal)), StringComparison.Ordinal);

    [Fact]
    public void The_unit_of_page_tables_is_the_backends() => Assert.Equal(KvView.GranuleBytes, KvLayoutContract.GranuleBytes);
}
