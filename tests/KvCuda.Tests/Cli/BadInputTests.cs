using KvCuda.Cli;
using KvCuda.Text;

namespace KvCuda.Tests.Cli;

/// <summary>What a user gets wrong at the command line is one clear line.</summary>
public class BadInputTests
{
    static (int Code, string Error) Logits(params string[] options)
    {
        using StringWriter output = new(), error = new();
        int code = CommandLine.Run(["logits", Repository.Demo, "--tokens", "5", "--device", "cpu", .. options],
            [LogitsCommand.Create()], output, error);
        return (code, error.ToString());
    }

    [Theory]
    [InlineData("--greedy", "2147483647")]
    [InlineData("--greedy", "-4")]
    [InlineData("--threads", "-3")]
    [InlineData("--page-tokens", "8192")]
    [InlineData("--context", "-1")]
    [InlineData("--context", "0")]
    public void Numbers_out_of_range_are_refused_by_logits_as_by_run(string option, string value)
    {
        (int code, string error) = Logits(option, value);
        Assert.Equal(1, code);
        Assert.StartsWith("kvcuda: ", error, StringComparison.Ordinal);
        Assert.Single(error.TrimEnd().Split('\n'));
        Assert.DoesNotContain("Exception", error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_null_where_a_string_should_be_is_named_with_its_line()
    {
        Tokenizer tokenizer = Tokenizer.Load(Repository.Demo);
        InvalidRequestException error = Assert.Throws<InvalidRequestException>(() => TokenizeCommand.Encode(tokenizer, "null", 3, false));
        Assert.Contains("Line 3 is not a JSON string", error.Message, StringComparison.Ordinal);
    }
}
