using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

public class ArgsContractTests
{
#pragma warning disable CS0649 // The compiler under test looks at these fields, nobody fills them.
    struct ScaleArgs
    {
        public nint Y, X;
        public int RowCount;
        public float Epsilon;
        public Pages Kv;
    }

    struct Pages
    {
        public nint Arena;
        public long LayerOffset;
        public uint Mask;
    }
#pragma warning restore CS0649

    const string Pages_ = "struct Pages { unsigned char* arena; long long layer_offset; unsigned mask; };";
    const string Fields = "float* y; const float* x; int row_count; float epsilon; Pages kv;";

    static ArgsContractTests() => ArgsContract.Part<Pages>();

    static string Compile(string fields, string pages = Pages_)
    {
        string text = $$"""
            {{pages}}
            struct ScaleArgs { {{fields}} };
            extern "C" __global__ void scale(const __grid_constant__ ScaleArgs args)
            {
                if (threadIdx.x < args.row_count) args.y[threadIdx.x] = args.x[threadIdx.x] * args.epsilon;
            }
            """;
        KernelCompiler compiler = NvrtcMachine.CompilerOf(("kernels/scale.cu", text));
        try
        {
            return compiler.Compile(new KernelSource<ScaleArgs>("scale.cu")).Log;
        }
        catch (DeviceException e)
        {
            return e.Message;
        }
    }

    [Fact]
    public void Equal_structs_compile() => Assert.DoesNotContain("error", Compile(Fields), StringComparison.Ordinal);

    [Theory]
    [InlineData("float* y; const float* x; float epsilon; int row_count; Pages kv;", "ScaleArgs.epsilon: at byte 20 in C#")]
    [InlineData("const float* x; float* y; int row_count; float epsilon; Pages kv;", "ScaleArgs.x: at byte 8 in C#")]
    [InlineData("float* y; const float* x; float row_count; float epsilon; Pages kv;", "ScaleArgs.row_count: int in C#")]
    [InlineData("float* y; long long x; int row_count; float epsilon; Pages kv;", "ScaleArgs.x: a pointer in C#")]
    [InlineData("float* y; const float* x; int row_count; float epsilon; Pages kv; int extra; int more;", "ScaleArgs: 48 bytes in C#")]
    [InlineData("float* y; const float* x; int rows; float epsilon; Pages kv;", "row_count")]
    public void A_field_that_differs_is_named_by_the_compiler(string fields, string expected) =>
        Assert.Contains(expected, Compile(fields), StringComparison.Ordinal);

    [Theory]
    [InlineData("#define __INTADDR__ __INTADDR_NOT_KNOWN__", true)] // what a compiler without it would say
    [InlineData("#define __INTADDR__(place) ((long long)(place) + clock())", true)] // or one that does not fold it
    [InlineData("", false)]
    public void A_compiler_that_does_not_understand_the_proof_still_compiles_and_says_so(string first, bool noted) =>
        Assert.Equal(noted, Compile(Fields, first + "\n" + Pages_).StartsWith("The argument struct is not proven equal to C#'s", StringComparison.Ordinal));

    [Fact]
    public void A_group_of_arguments_is_checked_through_its_path() => Assert.Contains("ScaleArgs.kv.layer_offset: at byte 32 in C#",
        Compile(Fields, "struct Pages { long long layer_offset; unsigned char* arena; unsigned mask; };"), StringComparison.Ordinal);

    [Theory]
    [InlineData("PageTable", "page_table")]
    [InlineData("Y", "y")]
    [InlineData("KvHeads", "kv_heads")]
    public void Names_change_case_between_the_languages(string csharp, string cuda) =>
        Assert.Equal(cuda, ArgsContract.SnakeCase(csharp));

    [Fact]
    public void A_field_type_that_is_not_blittable_in_both_languages_is_refused() =>
        Assert.Contains("Flag", Assert.Throws<NotSupportedException>(() => ArgsContract.For<BadArgs>("bad")).Message, StringComparison.Ordinal);

#pragma warning disable CS0649
    struct BadArgs
    {
        public bool Flag;
    }
#pragma warning restore CS0649
}
