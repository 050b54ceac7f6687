using System.Security.Cryptography;
using System.Text;
using KvCuda.Weights;

namespace KvCuda.Model;

/// <summary>
/// What a snapshot is tied to: a hash of config.json, of every tensor's name, type and shape, and of sampled blocks of its
/// bytes. Reading gigabytes to name a model would cost more than the snapshot saves; three blocks of every tensor tell
/// any two trained models apart.
/// </summary>
internal static class ModelIdentity
{
    const int BlockBytes = 4096;

    /// <param name="folder">the model folder</param>
    /// <param name="weights">its weights, in host memory</param>
    /// <returns>64 hexadecimal digits</returns>
    public static unsafe string Of(string folder, ModelWeights weights)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(File.ReadAllBytes(Path.Combine(folder, "config.json")));
        foreach ((TensorRole role, int layer, Tensors.Tensor tensor) in weights.All)
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"|{layer}:{role}:{tensor.Type}:{tensor.Rows}x{tensor.Columns}|"));
            foreach (long start in new[] { 0, tensor.Bytes / 2, tensor.Bytes - BlockBytes })
            {
                long from = Math.Clamp(start, 0, tensor.Bytes);
                hash.AppendData(new ReadOnlySpan<byte>((byte*)tensor.Address + from, (int)Math.Min(BlockBytes, tensor.Bytes - from)));
            }
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>The hash of tokenizer.json, or "none".</summary>
    public static string OfTokenizer(string folder)
    {
        string path = Path.Combine(folder, "tokenizer.json");
        return File.Exists(path) ? Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path))) : "none";
    }
}
