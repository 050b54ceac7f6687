using KvCuda.Backends;
using KvCuda.Backends.Cpu;

namespace KvCuda.Tests.Backends;

public class MemoryInfoTests
{
    [Fact]
    public void The_cpu_backend_says_how_much_memory_the_host_has()
    {
        using CpuBackend backend = new(threads: 1);
        MemoryInfo memory = backend.Memory;
        Assert.InRange(memory.Free, 1, memory.Total);
        Assert.InRange(memory.Total, 64 << 20, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
    }
}
