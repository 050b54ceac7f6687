using KvCuda.Engine;
using KvCuda.Model;

namespace KvCuda.Tests.Models;

/// <summary><see cref="PerplexityRun"/> of a model folder on the CPU, with f32 keys and values.</summary>
static class Perplexity
{
    const int Rows = 256;

    public static double Of(string folder, PrefillMode mode, int[][] windows, bool int8 = false)
    {
        using LoadedModel model = LoadedModel.Load(folder,
            new() { Device = "cpu", KvType = "f32", Prefill = mode, MaxStepTokens = Rows, MaxSequences = Rows, Weights = int8 ? "int8" : "stored" });
        return PerplexityRun.Of(model, mode, windows);
    }
}
