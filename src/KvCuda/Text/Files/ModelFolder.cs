using System.Text.Json;

namespace KvCuda.Text.Files;

/// <summary>What the small JSON files of a model folder say about its tokens.</summary>
static class ModelFolder
{
    const int MaxBytes = 64 << 20;

    /// <summary>
    /// Which ids begin and end a sequence: <c>generation_config.json</c>, <c>config.json</c> (ids), and
    /// <c>tokenizer_config.json</c> (tokens). The ends are all that any of them names, since a model trained to stop with one
    /// of them is not helped by running past it.
    /// </summary>
    public static HuggingFaceTokenizer.SpecialIds ReadSpecialIds(string folder, Func<string, int?> tokenToId)
    {
        int? beginning = null;
        var ends = new List<int>();
        foreach (string name in (ReadOnlySpan<string>)["tokenizer_config.json", "generation_config.json", "config.json"])
        {
            using JsonDocument? document = ReadJson(Path.Combine(folder, name));
            if (document is null || document.RootElement.ValueKind != JsonValueKind.Object)
            {
                continue;
            }

            JsonElement root = document.RootElement;
            beginning ??= Token(root, "bos_token") ?? Ids(root, "bos_token_id").Cast<int?>().FirstOrDefault();
            foreach (int id in Token(root, "eos_token") is { } end ? [end] : Ids(root, "eos_token_id"))
            {
                if (!ends.Contains(id))
                {
                    ends.Add(id);
                }
            }
        }

        return new HuggingFaceTokenizer.SpecialIds(beginning, ends);

        int? Token(JsonElement root, string name)
        {
            if (!root.TryGetProperty(name, out JsonElement value))
            {
                return null;
            }

            // A string, or an object that describes an added token.
            if (value.ValueKind == JsonValueKind.Object && !value.TryGetProperty("content"u8, out value))
            {
                return null;
            }

            return value.ValueKind == JsonValueKind.String ? tokenToId(value.GetString()!) : null;
        }

        static List<int> Ids(JsonElement root, string name)
        {
            var ids = new List<int>();
            if (root.TryGetProperty(name, out JsonElement value))
            {
                if (value.ValueKind == JsonValueKind.Array)
                {
                    ids.AddRange(value.EnumerateArray().Where(e => e.ValueKind == JsonValueKind.Number && e.TryGetInt32(out _))
                        .Select(e => e.GetInt32()));
                }
                else if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id))
                {
                    ids.Add(id);
                }
            }

            return ids;
        }
    }

    /// <summary>bos_token, eos_token and the like, with their text: what chat templates see of them.</summary>
    public static Dictionary<string, string> SpecialTokens(JsonElement tokenizerConfig)
    {
        var tokens = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonProperty property in tokenizerConfig.EnumerateObject())
        {
            JsonElement value = property.Value;
            if (property.Name.EndsWith("_token", StringComparison.Ordinal)
                && (value.ValueKind == JsonValueKind.String || (value.ValueKind == JsonValueKind.Object
                    && value.TryGetProperty("content"u8, out value) && value.ValueKind == JsonValueKind.String)))
            {
                tokens[property.Name] = value.GetString()!;
            }
        }

        return tokens;
    }

    /// <summary>A text file.</summary>
    public static string ReadText(string path)
    {
        try
        {
            return new FileInfo(path).Length <= MaxBytes ? File.ReadAllText(path)
                : throw new ModelFormatException($"{path}: larger than {MaxBytes >> 20} MiB.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>A JSON file, or null if it is not there.</summary>
    public static JsonDocument? ReadJson(string path)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            if (new FileInfo(path).Length > MaxBytes)
            {
                throw new ModelFormatException($"{path}: larger than {MaxBytes >> 20} MiB.");
            }

            return JsonDocument.Parse(File.ReadAllBytes(path), new JsonDocumentOptions { MaxDepth = 64 });
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException($"{path}: {e.Message}", e);
        }
    }
}
