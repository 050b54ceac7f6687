using System.Diagnostics;
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
        Assert.Equal(2, code);
        Assert.StartsWith("kvcuda: ", error, StringComparison.Ordinal);
        Assert.Single(error.TrimEnd().Split('\n'));
        Assert.DoesNotContain("Exception", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--window", "100000", "--when-full", "slide")]
    [InlineData("--window", "8")]
    [InlineData("--temperature", "-1")]
    [InlineData("--kv-budget", "much")]
    [InlineData("--device", "abacus")]
    [InlineData("--sharing", "nonsense")]
    [InlineData("--context", "99999")]
    [InlineData("--tokens", "5 x")]
    [InlineData("--tokens", "99999")]
    public void An_option_that_is_wrong_by_value_is_wrong_usage(params string[] options)
    {
        using StringWriter output = new(), error = new();
        int code = CommandLine.Run(["run", Repository.Demo, "Call me", .. options], [RunCommand.Create()], output, error);
        Assert.Equal(2, code);
        Assert.StartsWith("kvcuda: ", error.ToString(), StringComparison.Ordinal);
        Assert.Single(error.ToString().TrimEnd().Split('\n'));
    }

    [Theory]
    [InlineData("run {0} 'Call me' -n 3 --device cpu 2>&-", 0, "Call me")]
    [InlineData("tokenize {0} <&-", 0, "")]
    [InlineData("logits {0} --tokens - --device cpu <&-", 0, "")]
    [InlineData("run {0} 'Call me' -n 3 --device cpu >&-", 1, "")]
    public async Task Streams_that_the_caller_closed_are_nothing_and_not_the_files_that_took_their_place(string command, int code, string begin)
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("a POSIX shell closes the streams");
        }
        string cli = $"'{Environment.ProcessPath}' '{typeof(CommandLine).Assembly.Location}' ";
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) != "dotnet")
        {
            cli = $"dotnet '{typeof(CommandLine).Assembly.Location}' ";
        }
        using Process shell = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", cli + command.Replace("{0}", $"'{Repository.Demo}'", StringComparison.Ordinal)])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true,
        })!;
        string output = await shell.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await shell.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(code, shell.ExitCode);
        Assert.StartsWith(begin, output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_null_where_a_string_should_be_is_named_with_its_line()
    {
        Tokenizer tokenizer = Tokenizer.Load(Repository.Demo);
        InputException error = Assert.Throws<InputException>(() => TokenizeCommand.Encode(tokenizer, "null", 3, false));
        Assert.Contains("Line 3 is not a JSON string", error.Message, StringComparison.Ordinal);
    }
}
