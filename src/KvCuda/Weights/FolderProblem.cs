// What to say about a path that is no model folder: GGUF files, PyTorch files, names on the hub.
namespace KvCuda.Weights;

/// <summary>Finds the useful word for a path that is not a folder with config.json and safetensors.</summary>
static class FolderProblem
{
    const string Needed = "KvCuda reads Hugging Face folders: config.json, safetensors, tokenizer.json";

    /// <summary>Why the path cannot be opened as a model, and what to do.</summary>
    public static string Of(string path)
    {
        if (File.Exists(path))
        {
            return IsGguf(path) ? Gguf(path)
                : $"{path} is a file; give the folder it is in. {Needed}.";
        }
        if (!Directory.Exists(path))
        {
            string[] parts = path.Split('/');
            bool onTheHub = parts.Length == 2 && parts.All(part => part.Length > 0 && part is not ("." or ".."));
            return $"There is no model folder at {path}: no such folder or file."
                + (onTheHub ? $" If it is a model of the hub, download it first, for example with: hf download {path} "
                    + $"--local-dir {parts[1]}" : "");
        }
        string[] names = [.. Directory.EnumerateFiles(path).Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal)];
        if (names.FirstOrDefault(name => name.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase)) is string gguf)
        {
            return Gguf(Path.Combine(path, gguf));
        }
        string[] others = [.. names.Where(name => Path.GetExtension(name) is ".bin" or ".pt" or ".pth" or ".safetensors").Take(5)];
        return $"{path} is no model folder that KvCuda can read"
            + (others.Length > 0 ? $"; it has {string.Join(", ", others)}. " : ". ") + Needed
            + (others.Any(name => !name.EndsWith(".safetensors", StringComparison.Ordinal))
                ? "; weights of PyTorch can be saved again as safetensors (save_pretrained does that)." : ".");
    }

    static string Gguf(string path) => $"{path} is a GGUF file, which KvCuda does not read. {Needed}. Download the repository "
        + "that the GGUF was made from (its model card names it, as \"base model\"); the original weights are there.";

    static bool IsGguf(string path)
    {
        try
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle(path);
            Span<byte> magic = stackalloc byte[4];
            return path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase)
                || (RandomAccess.Read(file, magic, 0) == 4 && magic.SequenceEqual("GGUF"u8));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase);
        }
    }
}
