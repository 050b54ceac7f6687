using System.Collections.Concurrent;
using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

/// <summary>
/// Every variant that a launcher lists, compiled for the oldest and the newest architecture: no spills, within its budget,
/// and with the machine instructions it was written for. `./build.sh budgets` prints the figures.
/// </summary>
public class KernelGateTests
{
    [Theory]
    [InlineData("sm_80")]
    [InlineData("sm_90a")]
    public void Every_kernel_compiles_within_its_budget(string architecture)
    {
        KernelCache? cache = KernelCache.Open(Path.Combine(NvrtcMachine.Root, ".tools", "kernels"), out _);
        var compiler = new KernelCompiler(NvrtcMachine.Compiler, architecture, KernelFiles.Embedded, cache);
        var complaints = new ConcurrentBag<string>();
        Parallel.ForEach(KernelCatalog.All().Where(entry => entry.Budget.AppliesTo(architecture)), new() { MaxDegreeOfParallelism = Environment.ProcessorCount }, entry =>
        {
            try
            {
                CompiledKernel kernel = compiler.Compile(entry.Source);
                if (kernel.Usage is not { } usage)
                {
                    complaints.Add($"{entry.Source}: NVRTC {NvrtcMachine.Compiler.Version} says nothing of registers in a form that KernelUsage knows:\n{kernel.Log}");
                    return;
                }
                string? assembly = entry.Budget.Instructions.Count > 0 ? NvrtcMachine.Disassemble(kernel.Cubin) : null;
                foreach (string violation in entry.Budget.Violations(usage, architecture, assembly))
                {
                    complaints.Add($"{entry.Launcher}: {entry.Source} {violation}");
                }
                // The assembler says so when it must wait after every product of a warpgroup.
                if (kernel.Log.Contains("serialized", StringComparison.Ordinal))
                {
                    complaints.Add($"{entry.Launcher}: {entry.Source} is serialized: {kernel.Log}");
                }
            }
            catch (DeviceException e)
            {
                complaints.Add(e.Message);
            }
        });
        Assert.True(complaints.IsEmpty, $"{architecture}:\n{string.Join('\n', complaints.Order(StringComparer.Ordinal))}");
    }

    [Fact]
    public void A_kernel_that_breaks_its_budget_is_told_how()
    {
        var usage = new KernelUsage(Registers: 128, SpillBytes: 16, StackBytes: 16, SharedBytes: 2048);
        var budget = new KernelBudget(Registers: 64, SharedBytes: 1024, DynamicSharedBytes: 200 << 10) { Instructions = ["HMMA", "LDSM"] };
        Assert.Equal(
            [
                "spills 16 bytes of registers", "uses 128 registers; its budget is 64",
                "uses 2048 bytes of static shared memory; its budget is 1024",
                "may ask for 206848 bytes of shared memory; a block has 166912", "has no LDSM instruction",
            ],
            budget.Violations(usage, "sm_80", "HMMA.16816.F32.BF16 R4, R8, R12, R4 ;"));
    }

    [Fact]
    public void A_real_spill_is_seen()
    {
        const string text = """
            struct SpillArgs { float* y; };
            extern "C" __global__ void __launch_bounds__(1024, 2) spill(const __grid_constant__ SpillArgs args)
            {
                float v[64];
                #pragma unroll
                for (int i = 0; i < 64; i++) v[i] = args.y[i * 1024 + threadIdx.x];
                __syncthreads();
                #pragma unroll
                for (int i = 0; i < 64; i++) args.y[(63 - i) * 1024 + threadIdx.x] = v[i] * v[(i * 7) & 63];
            }
            """;
        CompiledKernel kernel = NvrtcMachine.CompilerOf(("kernels/spill.cu", text)).Compile(new KernelSource<SpillArgs>("spill.cu"));
        Assert.Contains(new KernelBudget(32).Violations(kernel.Usage!.Value, "sm_90a", null), v => v.StartsWith("spills", StringComparison.Ordinal));
    }

#pragma warning disable CS0649
    struct SpillArgs
    {
        public nint Y;
    }
#pragma warning restore CS0649
}
