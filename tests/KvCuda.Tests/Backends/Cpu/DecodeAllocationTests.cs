using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tests.Models;

namespace KvCuda.Tests.Backends.Cpu;

public sealed class DecodeAllocationTests
{
    /// <summary>One thread does all the work here, so that what it allocates is everything.</summary>
    [Theory]
    [InlineData("llama-bf16", "bf16")]
    [InlineData("gptneo-w5", "f32")]
    public void A_decode_step_allocates_no_managed_memory(string name, string kvType)
    {
        GoldenCase golden = new(name);
        using LoadedModel model = LoadedModel.Load(golden.Folder, new()
        {
            Device = "cpu", Threads = 1, KvType = kvType, MaxContext = 64, MaxSequences = 2, MaxStepTokens = 8,
        });
        KvSequence[] sequences = [model.Store.Open(), model.Store.Open()];
        Sampler sampler = new(model.Backend, 2, model.Config.Vocabulary);
        int[] token = [1];
        foreach (KvSequence sequence in sequences)
        {
            Assert.True(model.Store.TryReserve(sequence, 48));
        }
        void Step()
        {
            model.Pass.Clear();
            sampler.Clear();
            foreach (KvSequence sequence in sequences)
            {
                model.Pass.TryAdd(sequence, token, wanted: 1);
                sampler.Add(Sampler.Greedy);
            }
            sampler.Choose(model.Pass.Run());
        }
        void Accept()
        {
            model.Pass.Accept(0);
            model.Pass.Accept(1);
        }
        for (int position = 0; position < 16; position++)
        {
            Step();
            Accept();
        }
        AllocationMeter meter = new();
        for (int position = 16; position < 48; position++)
        {
            meter.Begin();
            Step();
            meter.End();
            Accept(); // lists of tokens double: that is no step's
        }
        Assert.Equal(0, meter.Bytes);
        Assert.True(meter.Disturbed <= 2, $"{meter.Disturbed} steps allocated while a collection ran");
    }
}
