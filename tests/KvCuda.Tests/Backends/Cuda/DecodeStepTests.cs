using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tests.Models;

namespace KvCuda.Tests.Backends.Cuda;

/// <summary>What a step costs the host, and what is ready before the first.</summary>
public sealed class DecodeStepTests
{
    static LoadedModel Load(string golden, int sequences, bool prepared = false) => LoadedModel.Load(Repository.Golden(golden), new()
    {
        Device = CudaModels.Device,
        MaxSequences = sequences,
        MaxStepTokens = 32,
        PageTokens = 16,
        MaxContext = 128,
        PreparesAlways = prepared,
    });

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void A_decode_step_allocates_nothing(int count)
    {
        using LoadedModel model = Load("llama-standard", count);
        Sampler sampler = new(model.Backend, count, model.Config.Vocabulary);
        KvSequence[] sequences = [.. Enumerable.Range(0, count).Select(_ => model.Store.Open())];
        int[] tokens = [.. Enumerable.Range(3, count)];
        void Step(AllocationMeter? meter = null)
        {
            for (int i = 0; i < count; i++)
            {
                Assert.True(model.Store.TryReserve(sequences[i], 1));
            }
            meter?.Begin();
            model.Pass.Clear();
            sampler.Clear();
            for (int i = 0; i < count; i++)
            {
                model.Pass.TryAdd(sequences[i], tokens.AsSpan(i, 1), wanted: 1);
                sampler.Add(Sampler.Greedy);
            }
            ReadOnlySpan<int> chosen = sampler.Choose(model.Pass.Run());
            meter?.End();
            // The store remembers a page that is full: that is no step's.
            for (int i = 0; i < count; i++)
            {
                model.Pass.Accept(i);
            }
            chosen.CopyTo(tokens);
        }
        // The first pass compiles, the second is captured, later ones are replayed; .NET itself settles meanwhile.
        for (int step = 0; step < 40; step++)
        {
            Step();
        }
        AllocationMeter measured = new();
        for (int step = 0; step < 40; step++) // over the ends of pages
        {
            Step(measured);
        }
        Assert.Equal(0, measured.Bytes);
        Assert.True(measured.Disturbed <= 2, $"{measured.Disturbed} steps allocated while a collection ran");
    }

    [Theory]
    [InlineData("llama-standard")]
    [InlineData("sandwich-top")]
    public void What_was_prepared_is_all_that_runs(string golden)
    {
        using LoadedModel model = Load(golden, sequences: 3, prepared: true);
        var backend = (KvCuda.Backends.Cuda.CudaBackend)model.Backend;
        string[] prepared = [.. backend.Library.Kernels.Select(kernel => kernel.Source.ToString())];
        Assert.DoesNotContain(backend.Library.Kernels, kernel => kernel.Launches > 0);
        GoldenCase cases = new(golden);
        new KvCuda.Engine.LogitsRun(model, PrefillMode.Converged).Run([.. cases.Prompts.Skip(4).Take(3)], 4);
        Assert.Contains(backend.Library.Kernels, kernel => kernel.Launches > 0);
        Assert.Equal([], backend.Library.Kernels.Select(kernel => kernel.Source.ToString()).Except(prepared));
    }
}
