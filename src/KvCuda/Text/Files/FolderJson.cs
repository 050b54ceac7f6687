// Reads the small JSON files of a model folder, field by field, with errors that name file and field.
using System.Text.Json;

namespace KvCuda.Text.Files;

/// <summary>One JSON object of a model folder; empty if the file is not there. A null field counts as absent.</summary>
sealed class FolderJson
{
    const int MaxBytes = 64 << 20;

    readonly JsonElement root;

    FolderJson(string path, JsonElement root) => (Path, this.root) = (path, root);

    /// <summary>The file, for errors.</summary>
    public string Path { get; }

    /// <summary>Its name without the folder.</summary>
    public string Name => System.IO.Path.GetFileName(Path);

    /// <summary>Whether the file is there.</summary>
    public bool Exists => root.ValueKind == JsonValueKind.Object;

    /// <summary>Its fields that are not null.</summary>
    public IEnumerable<JsonProperty> Fields =>
        Exists ? root.EnumerateObject().Where(entry => entry.Value.ValueKind != JsonValueKind.Null) : [];

    /// <summary>Reads a file of a folder, if it is there.</summary>
    /// <exception cref="ModelFormatException">It cannot be read, or is no JSON object.</exception>
    public static FolderJson Read(string folder, string name)
    {
        string path = System.IO.Path.Combine(folder, name);
        if (!File.Exists(path))
        {
            return new(path, default);
        }
        try
        {
            byte[] bytes = ModelFile.ReadAllBytes(path, MaxBytes);
            ReadOnlyMemory<byte> json = bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsMemory(3) : bytes;
            using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 64 });
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new(path, document.RootElement.Clone())
                : throw new ModelFormatException($"{path} should be a JSON object, it is a {document.RootElement.ValueKind}.");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new ModelFormatException($"{path} is not valid JSON: {e.Message}", e);
        }
    }

    /// <summary>A text file of a folder.</summary>
    public static string ReadText(string path) => ModelFile.ReadAllText(path, MaxBytes);

    /// <summary>A field, or null if it is absent or null.</summary>
    public JsonElement? Find(string name) =>
        Exists && root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>A string, or null.</summary>
    public string? Text(string name) => Find(name) is not JsonElement value ? null
        : StringOf(value) ?? throw Wrong(name, "a string");

    /// <summary>true or false, or null.</summary>
    public bool? Flag(string name) => Find(name) is not JsonElement value ? null
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(name, "true or false");

    /// <summary>One token id or a list of them; empty if absent. Negative ids mean none.</summary>
    public List<int> Ids(string name)
    {
        var ids = new List<int>();
        if (Find(name) is JsonElement value)
        {
            foreach (JsonElement item in value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : (JsonElement[])[value])
            {
                if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt32(out int id))
                {
                    throw Wrong(name, "a token id or a list of them");
                }
                if (id >= 0)
                {
                    ids.Add(id);
                }
            }
        }
        return ids;
    }

    /// <summary>A list of strings, or a single one; empty if absent.</summary>
    public List<string> Texts(string name)
    {
        if (Find(name) is not JsonElement value)
        {
            return [];
        }
        return value.ValueKind == JsonValueKind.Array
            ? [.. value.EnumerateArray().Select(item => StringOf(item) ?? throw Wrong(name, "a list of strings"))]
            : [StringOf(value) ?? throw Wrong(name, "a string or a list of strings")];
    }

    /// <summary>A token: its text, or an object with its content. Null if absent; empty text means none.</summary>
    public string? Token(string name) => Find(name) is not JsonElement value ? null
        : TokenOf(value) is not string text ? throw Wrong(name, "a token: a string, or an object with its content")
        : text.Length > 0 ? text : null;

    /// <summary>The text of a token value, or null if it is none.</summary>
    public static string? TokenOf(JsonElement value) =>
        value.ValueKind == JsonValueKind.Object && value.TryGetProperty("content"u8, out JsonElement content)
            ? StringOf(content) : StringOf(value);

    /// <summary>Null for what is no string, and for a string with half a surrogate pair.</summary>
    public static string? StringOf(JsonElement value)
    {
        try
        {
            return value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>An error about a field: what it is, what it should be.</summary>
    public ModelFormatException Wrong(string name, string expected)
    {
        string found = Find(name)?.GetRawText() ?? "null";
        return new($"{Path}: {name} should be {expected}; it is {(found.Length > 80 ? found[..80] + "..." : found).ReplaceLineEndings(" ")}.");
    }
}
