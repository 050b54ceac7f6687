using System.Runtime.InteropServices;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
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
            Device = "cpu", Threads = 1, KvType = kvType, MaxContext = 64, MaxSequences = 2, MaxRows = 8,
        });
        KvSequence[] sequences = [model.Store.Open(), model.Store.Open()];
        Tensor tokens = model.Backend.Allocate("tokens", DType.I32, 1, 2), parameters = model.Backend.Allocate("sampling", DType.I32, 2, SampleRow.Words);
        SampleRow[] greedy = new SampleRow[2];
        Array.Fill(greedy, new() { RepetitionPenalty = 1, TopP = 1 });
        model.Backend.Write(parameters, MemoryMarshal.AsBytes<SampleRow>(greedy));
        int[] token = [1];
        foreach (KvSequence sequence in sequences)
        {
            Assert.True(model.Store.TryReserve(sequence, 48));
        }
        void Step(int position)
        {
            model.Batch.Clear();
            foreach (KvSequence sequence in sequences)
            {
                model.WriteTables(model.Batch.Add(token, position, wanted: 1), sequence);
            }
            model.Batch.Upload();
            Tensor logits = model.Forward();
            model.Backend.Sample(tokens, logits, parameters, default);
        }
        for (int position = 0; position < 16; position++)
        {
            Step(position);
        }
        AllocationMeter meter = new();
        for (int position = 16; position < 48; position++)
        {
            meter.Begin();
            Step(position);
            meter.End();
        }
        Assert.Equal(0, meter.Bytes);
        Assert.True(meter.Disturbed <= 2, $"{meter.Disturbed} steps allocated while a collection ran");
    }
}
