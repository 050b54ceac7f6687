using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

namespace KvCuda.Weights;

/// <summary>
/// The tensors of a model folder: one model.safetensors, or the shards that model.safetensors.index.json names.
/// Views die with it.
/// </summary>
sealed class SafetensorsModel : IDisposable
{
    const string Single = "model.safetensors", Index = "model.safetensors.index.json";
    const int MaxIndexBytes = 100_000_000;

    readonly Dictionary<string, StoredTensor> tensors = new(StringComparer.Ordinal);
    readonly List<SafetensorsFile> files = [];

    SafetensorsModel(string path) => Path = path;

    /// <summary>The folder or file it was opened from.</summary>
    public string Path { get; }

    /// <summary>The open files, in order of name.</summary>
    public IReadOnlyList<SafetensorsFile> Files => files;

    /// <summary>All tensors, by name.</summary>
    public IReadOnlyDictionary<string, StoredTensor> Tensors => tensors;

    /// <summary>Bytes of all tensors.</summary>
    public long Bytes => tensors.Values.Sum(tensor => tensor.Bytes);

    /// <summary>Finds a tensor.</summary>
    public bool TryGet(string name, [NotNullWhen(true)] out StoredTensor? tensor) => tensors.TryGetValue(name, out tensor);

    /// <summary>Opens a model folder, or one .safetensors file.</summary>
    /// <exception cref="ModelFormatException">Nothing to open, a shard is missing, or a file is malformed.</exception>
    public static SafetensorsModel Open(string path)
    {
        var model = new SafetensorsModel(path);
        try
        {
            if (File.Exists(path) && path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase))
            {
                throw new ModelFormatException(FolderProblem.Of(path));
            }
            if (File.Exists(path))
            {
                model.Add(path);
            }
            else if (File.Exists(System.IO.Path.Combine(path, Single)))
            {
                model.Add(System.IO.Path.Combine(path, Single));
            }
            else if (File.Exists(System.IO.Path.Combine(path, Index)))
            {
                model.AddShards(System.IO.Path.Combine(path, Index));
            }
            else
            {
                throw new ModelFormatException(NothingToOpen(path));
            }
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    static string NothingToOpen(string path) => Directory.Exists(path)
        ? $"{path} has neither {Single} nor {Index}. {FolderProblem.Of(path)}"
        : FolderProblem.Of(path);

    void Add(string file)
    {
        SafetensorsFile opened = SafetensorsFile.Open(file);
        files.Add(opened);
        foreach ((string name, StoredTensor tensor) in opened.Tensors)
        {
            tensors.Add(name, tensor);
        }
    }

    void AddShards(string index)
    {
        string folder = System.IO.Path.GetDirectoryName(index)!;
        var shards = new SortedDictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        foreach ((string name, string shard) in ReadWeightMap(index))
        {
            if (!shards.TryGetValue(shard, out SafetensorsFile? file))
            {
                if (shard.Length == 0 || shard is "." or ".." || shard.IndexOfAny(['/', '\\', ':', '\0']) >= 0)
                {
                    throw new ModelFormatException(
                        $"{Index} places '{SafetensorsHeader.Printable(name)}' in '{SafetensorsHeader.Printable(shard)}', "
                        + "which is not the plain name of a file of the folder.");
                }
                string path = System.IO.Path.Combine(folder, shard);
                if (!File.Exists(path))
                {
                    throw new ModelFormatException($"{Index} names the shard '{SafetensorsHeader.Printable(shard)}', "
                        + "which is not in the folder; was the download interrupted?");
                }
                file = SafetensorsFile.Open(path);
                files.Add(file);
                shards.Add(shard, file);
            }
            tensors.Add(name, file.Tensors.TryGetValue(name, out StoredTensor? tensor)
                ? tensor
                : throw new ModelFormatException(
                    $"{Index} places the tensor '{SafetensorsHeader.Printable(name)}' in {shard}, which does not have it."));
        }
        files.Sort((a, b) => string.CompareOrdinal(a.Path, b.Path));
    }

    static List<(string Name, string Shard)> ReadWeightMap(string index)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(ModelFile.ReadAllBytes(index, MaxIndexBytes),
                new JsonDocumentOptions { MaxDepth = 8, AllowDuplicateProperties = false });
            return [.. document.RootElement.GetProperty("weight_map").EnumerateObject()
                .Select(entry => (entry.Name, entry.Value.GetString() ?? ""))];
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or KeyNotFoundException
            or IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException(
                $"{Index} should be a JSON object with a weight_map from tensor to file, each once: "
                + SafetensorsHeader.Printable(error.Message, 300), error);
        }
    }

    /// <summary>Closes all files: every view is dead.</summary>
    public void Dispose()
    {
        foreach (SafetensorsFile file in files)
        {
            file.Dispose();
        }
        files.Clear();
        tensors.Clear();
    }
}
