using KvCuda.Cli;
using KvCuda.Tests.Kernels;

namespace KvCuda.Tests.Cli;

public class KernelStartupTests
{
    [Fact]
    public void What_a_models_start_takes_is_measured_from_its_config_without_weights_or_a_device()
    {
        using var output = new StringWriter();
        Assert.Equal(0, KernelStartup.Measure(Repository.Golden("llama-bf16"), NvrtcMachine.Compiler, output));
        string report = output.ToString();
        TestContext.Current.TestOutputHelper?.WriteLine(report);
        Assert.Matches(@"^\d+ kernels for sm_\w+, [\d,.]+ KiB; NVRTC", report);
        Assert.Contains("first start: planned and compiled in", report, StringComparison.Ordinal);
        Assert.Contains("later starts: planned, read from cache in", report, StringComparison.Ordinal);
        Assert.DoesNotContain("were not in the cache", report, StringComparison.Ordinal);
    }
}
