using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

public class KernelUsageTests
{
    [Fact]
    public void The_assemblers_log_is_read()
    {
        const string log = """
            ptxas info    : 0 bytes gmem
            ptxas info    : Compiling entry function 'attend' for 'sm_90a'
            ptxas info    : Function properties for attend
                64 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
            ptxas info    : Used 168 registers, used 1 barriers, 64 bytes cumulative stack size, 2048 bytes smem, 560 bytes cmem[0]
            """;
        Assert.Equal(new KernelUsage(Registers: 168, SpillBytes: 32, StackBytes: 64, SharedBytes: 2048), KernelUsage.Parse(log));
    }

    [Fact]
    public void A_kernel_without_shared_memory_uses_none() => Assert.Equal(new KernelUsage(10, 0, 0, 0), KernelUsage.Parse(
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\nptxas info    : Used 10 registers, 560 bytes cmem[0]"));

    [Fact]
    public void A_log_without_figures_gives_none() => Assert.Null(KernelUsage.Parse("compiled"));
}
