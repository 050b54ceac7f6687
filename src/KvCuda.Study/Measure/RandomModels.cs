// Model folders of random weights, made when first asked for and left for the next time.
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Study;

/// <summary>A cache of random models by shape: for speed only, their text means nothing.</summary>
internal static class RandomModels
{
    /// <summary>No model here is asked for more; an engine says how much it wants.</summary>
    const int MostContext = 1 << 17;

    /// <summary>Where they are kept unless another place is given.</summary>
    public static string DefaultCache => Path.Combine(Path.GetTempPath(), "kvcuda-bench");

    /// <summary>The folder of a shape: config.json and model.safetensors in bf16, the same on every machine.</summary>
    public static string Folder(ModelShape shape, string cache, Action<string>? say = null)
    {
        string folder = Path.Combine(cache, shape.Name);
        if (!File.Exists(Path.Combine(folder, "model.safetensors")))
        {
            say?.Invoke($"{shape.Name}: making random weights in {folder}, once");
            Directory.CreateDirectory(folder);
            File.WriteAllText(Path.Combine(folder, "config.json"), shape.Config(DType.BF16, MostContext));
            RandomModel.Write(folder, ModelConfig.Load(folder), _ => true, DType.BF16, seed: 1);
        }
        return folder;
    }
}
