using System.Security.Cryptography;
using System.Text;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.PeerBench;

/// <summary>A model in both worlds: a Hugging Face folder and, where llama.cpp can run it, the same numbers as GGUF.</summary>
/// <param name="Name">1.1B, or the folder's name</param>
/// <param name="Folder">config.json and safetensors</param>
/// <param name="Config">read</param>
/// <param name="Type">how its matrices are stored</param>
/// <param name="Gguf">the file in that type, and as q8_0; null where <paramref name="NoPeer"/> says why</param>
/// <param name="NoPeer">why llama.cpp does not run it</param>
/// <param name="Shares">its own layers share keys and values</param>
internal sealed record BenchModel(
    string Name, string Folder, ModelConfig Config, DType Type, (string Stored, string Quantised)? Gguf, string? NoPeer, bool Shares)
{
    static readonly ModelShape[] shapes = [new("tiny", 256, 4, 4, 2, 64, 512, 2048), ModelShape.Small, ModelShape.Medium];

    public static IEnumerable<string> Names => shapes.Select(shape => shape.Name);

    /// <summary>A known shape with random bf16 weights, made in the cache unless it is there.</summary>
    public static BenchModel Random(string name, string cache, bool alone, Action<string> say)
    {
        string folder = RandomModels.Folder(shapes.First(shape => shape.Name == name), cache, say);
        return Convert(name, folder, folder, alone, say);
    }

    /// <summary>An existing Hugging Face folder.</summary>
    /// <exception cref="UnsupportedModelException">llama.cpp cannot run it, and was to.</exception>
    public static BenchModel Existing(string folder, string cache, bool alone, Action<string> say)
    {
        string full = Path.GetFullPath(folder);
        if (!Directory.Exists(full))
        {
            throw new InvalidRequestException($"There is no model folder at {folder}.");
        }
        string name = Path.GetFileName(full.TrimEnd('/'));
        // Another file under the same path is another model.
        string key = string.Join('|', Directory.EnumerateFiles(full).Order(StringComparer.Ordinal)
            .Select(file => $"{file}:{new FileInfo(file).Length}:{File.GetLastWriteTimeUtc(file).Ticks}"));
        string hash = System.Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)))[..12];
        return Convert(name, full, Path.Combine(cache, $"{name}-{hash}"), alone, say);
    }

    static BenchModel Convert(string name, string folder, string target, bool alone, Action<string> say)
    {
        ModelConfig config = ModelConfig.Load(folder);
        if (config.MaxPositions < 256)
        {
            throw new UnsupportedModelException($"{folder} has a context of {config.MaxPositions} tokens; the bench needs 256.");
        }
        LayerSharing sharing = LoadedModel.SharingOf(config, null);
        using ModelWeights weights = ModelWeights.Load(folder, config, sharing.Owns);
        bool shares = Enumerable.Range(0, config.Layers).Any(layer => sharing.Target(layer) != layer);
        if (alone)
        {
            return new(name, folder, config, weights.Type, null, "KvCuda is measured alone", shares);
        }
        if (GgufWriter.Refusal(config, shares) is { } why)
        {
            throw new UnsupportedModelException($"{folder} was to run in llama.cpp too, which it cannot here: {why}. Give --alone to measure KvCuda only.");
        }
        Directory.CreateDirectory(target);
        string stored = Path.Combine(target, $"model-{weights.Type.Name()}.gguf"), quantised = Path.Combine(target, "model-q8_0.gguf");
        foreach ((string path, bool quantise) in new[] { (stored, false), (quantised, true) })
        {
            if (!File.Exists(path))
            {
                say($"{name}: writing {path}, once");
                GgufWriter.Write(path, config, weights, quantise);
            }
        }
        return new(name, folder, config, weights.Type, (stored, quantised), null, shares);
    }

    /// <summary>Numbers in the matrices that every token passes through: the layers', and the head's.</summary>
    public (double Layers, double Head) Parameters
    {
        get
        {
            double qo = 2.0 * Config.HiddenSize * Config.QuerySize, kv = 2.0 * Config.HiddenSize * Config.KvSize;
            double mlp = (Config.GatedMlp ? 3.0 : 2.0) * Config.HiddenSize * Config.MlpSize;
            return (Config.Layers * (qo + kv + mlp), (double)Config.Vocabulary * Config.HiddenSize);
        }
    }

    /// <summary>Bytes of weights that a decode step reads: all but the embedding.</summary>
    public double StepBytes(double bytesPerNumber) => (Parameters.Layers + Parameters.Head) * bytesPerNumber;

    /// <summary>Arithmetic of a prompt: the layers' products, the head's of one row, and causal attention.</summary>
    public double PromptFlops(int tokens) => 2 * Parameters.Layers * tokens + 2 * Parameters.Head
        + 2.0 * Config.Layers * Config.QuerySize * tokens * (double)tokens;

    /// <summary>Bytes of all weights with int8 matrices, the embedding as stored.</summary>
    public double Int8Bytes
    {
        get
        {
            double perNumber = new Int8Layout(Int8Layout.Block, Config.HiddenSize).Bytes / (double)(Int8Layout.Block * Config.HiddenSize);
            return (Parameters.Layers + Parameters.Head) * perNumber + Parameters.Head * Type.Bytes();
        }
    }

    /// <summary>Bytes of all weights.</summary>
    public double WeightBytes(double bytesPerNumber) =>
        (Parameters.Layers + Parameters.Head * (Config.TiedHead ? 1 : 2)) * bytesPerNumber;
}
