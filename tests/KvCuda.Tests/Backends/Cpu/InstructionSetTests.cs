using KvCuda.Backends.Cpu;
using KvCuda.Tensors;

namespace KvCuda.Tests.Backends.Cpu;

public sealed class InstructionSetTests
{
    [Fact]
    public void The_backends_name_says_which_instructions_it_uses()
    {
        using var portable = new CpuBackend(1, InstructionSet.Portable);
        Assert.Equal("cpu (portable SIMD, 1 thread)", portable.Name);
        using var best = new CpuBackend(2, InstructionSets.Best);
        Assert.Contains(InstructionSets.Best.Name(), best.Name, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_chooses_a_set_and_an_unknown_one_is_refused_by_name()
    {
        Assert.Equal(InstructionSets.Best, InstructionSets.Parse(null));
        Assert.Equal(InstructionSets.Best, InstructionSets.Parse(""));
        Assert.Equal(InstructionSet.Portable, InstructionSets.Parse("portable"));
        DeviceException unknown = Assert.Throws<DeviceException>(() => InstructionSets.Parse("sse9"));
        Assert.Contains("'sse9'; it must be amx, avx512, avx2 or portable", unknown.Message, StringComparison.Ordinal);
        foreach ((string name, InstructionSet set) in new[] { ("amx", InstructionSet.Amx), ("avx512", InstructionSet.Avx512), ("avx2", InstructionSet.Avx2) })
        {
            if (set.IsAvailable())
            {
                Assert.Equal(set, InstructionSets.Parse(name));
            }
            else
            {
                Assert.Contains("does not have", Assert.Throws<DeviceException>(() => InstructionSets.Parse(name)).Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void Kernels_of_every_set_and_type_can_be_made_ready_before_a_model_is_there()
    {
        foreach (InstructionSet set in CpuTensors.Sets)
        {
            foreach (WeightFormat weights in new[] { WeightFormat.F32, WeightFormat.F16, WeightFormat.BF16, WeightFormat.Int8 })
            {
                CpuWarmUp.Run(set, weights, weights == WeightFormat.Int8 ? DType.BF16 : weights.Element);
            }
        }
    }
}
