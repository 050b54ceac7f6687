using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.GpuBench;

/// <summary>Model folders of random weights, made when first asked for and left for the sections that come later.</summary>
internal sealed class BenchModels(string workFolder, string device)
{
    const DType Type = DType.BF16;

    /// <summary>The folder of a shape: config.json and model.safetensors, the same on every machine.</summary>
    public string Folder(ModelShape shape) => RandomModels.Folder(shape, workFolder);

    /// <summary>A model ready to run so many sequences of so many tokens at once.</summary>
    /// <param name="shape">its size</param>
    /// <param name="sequences">most sequences at once</param>
    /// <param name="context">longest sequence</param>
    /// <param name="rows">most rows of a pass</param>
    /// <param name="numerics">the class</param>
    /// <param name="sharing">a map that replaces the standard one</param>
    /// <param name="budget">bytes of pages; 0: what the sequences need</param>
    /// <param name="report">told how loading goes on</param>
    public LoadedModel Load(ModelShape shape, int sequences, int context, int rows = 0, Numerics numerics = Numerics.Fast,
        string? sharing = null, long budget = 0, Action<string, double>? report = null) =>
        LoadedModel.Load(Folder(shape), new()
        {
            Device = device,
            MaxSequences = sequences,
            MaxStepTokens = Math.Max(sequences, rows),
            MaxContext = context,
            Sharing = sharing,
            NumericsClass = numerics,
            KvType = Type.Name(),
            KvBudgetBytes = budget > 0 ? budget
                : (long)(shape.KvBytesKept(Type, shape.Layers) * (context + 64.0) * sequences * 1.1) + (64 << 20),
        }, report);

    /// <summary>How many layers own keys and values under a map.</summary>
    public int Owners(ModelShape shape, string? sharing) =>
        LoadedModel.SharingOf(ModelConfig.Load(Folder(shape)), sharing).Owners.Count;
}
