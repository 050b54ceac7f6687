using KvCuda.Cli;

namespace KvCuda.Tests.Cli;

public class DoctorCommandTests
{
    [Fact]
    public void The_report_says_what_was_looked_for_and_what_auto_would_use()
    {
        using var output = new StringWriter();
        Assert.Equal(0, DoctorCommand.Report(output));
        string report = output.ToString();
        TestContext.Current.TestOutputHelper?.WriteLine(report);
        string[] expected =
        [
            "CPU", "SIMD", "KVCUDA_CPU_ISA", "NVIDIA driver", OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1", "Run-time compiler (NVRTC)",
            "Kernel cache", "directory", "Host runner", "--device auto uses",
        ];
        Assert.All(expected, text => Assert.Contains(text, report, StringComparison.Ordinal));
    }
}
