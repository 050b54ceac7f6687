using System.Text.Json;

namespace KvCuda.Weights;

/// <summary>
/// A JSON object of a model folder, read field by field: null counts as absent, and a field of the wrong kind or out
/// of range is one clear error.
/// </summary>
sealed class ConfigJson
{
    const int MaxFileBytes = 10_000_000;

    readonly string file;
    readonly JsonElement root;
    readonly HashSet<string> asked = new(StringComparer.Ordinal);

    ConfigJson(string file, JsonElement root)
    {
        this.file = file;
        this.root = root;
    }

    /// <summary>The names of all fields, in the file's order.</summary>
    public IEnumerable<string> Names => root.EnumerateObject().Select(entry => entry.Name);

    /// <summary>Fields that are there, are not null, and were never asked for.</summary>
    public IEnumerable<string> Unread => root.EnumerateObject()
        .Where(entry => entry.Value.ValueKind != JsonValueKind.Null && !asked.Contains(entry.Name)).Select(entry => entry.Name);

    /// <summary>Reads a file; its content is copied, nothing stays open.</summary>
    public static ConfigJson Load(string path)
    {
        if (!File.Exists(path))
        {
            string folder = Path.GetDirectoryName(path) is { Length: > 0 } parent ? parent : ".";
            throw new ModelFormatException(Path.GetFileName(path) == "config.json"
                ? $"{path} does not exist. {FolderProblem.Of(folder)}"
                : $"{path} does not exist.");
        }
        return Parse(Path.GetFileName(path), ModelFile.ReadAllBytes(path, MaxFileBytes));
    }

    /// <summary>Reads the bytes of a JSON object.</summary>
    public static ConfigJson Parse(string file, ReadOnlyMemory<byte> json)
    {
        try
        {
            ReadOnlyMemory<byte> text = json.Span.StartsWith("\uFEFF"u8) ? json[3..] : json;
            using JsonDocument document = JsonDocument.Parse(
                text, new JsonDocumentOptions { MaxDepth = 32, AllowDuplicateProperties = false });
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new(file, document.RootElement.Clone())
                : throw new ModelFormatException($"{file} should be a JSON object, it is a {document.RootElement.ValueKind}.");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new ModelFormatException($"{file} is not valid JSON: {SafetensorsHeader.Printable(error.Message, 300)}", error);
        }
    }

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string name) => Find(name) is not null;

    /// <summary>The field's value, or null if it is absent or null.</summary>
    public JsonElement? Find(string name)
    {
        asked.Add(name);
        return root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    /// <summary>A whole number that must be there.</summary>
    public int Int(string name, int least, int most) => Find(name) is null
        ? throw new ModelFormatException($"{file}: {name} is missing.")
        : Int(name, 0, least, most);

    /// <summary>A whole number, or the default.</summary>
    public int Int(string name, int otherwise, int least, int most) => Find(name) is not JsonElement value
        ? otherwise
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= least && number <= most
            ? number
            : throw Wrong(name, value, $"a whole number from {least} to {most}");

    /// <summary>A finite number, or the default.</summary>
    public double Number(string name, double otherwise) => Find(name) is not JsonElement value
        ? otherwise
        : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number)
            ? number
            : throw Wrong(name, value, "a number");

    /// <summary>A finite number above zero, or the default.</summary>
    public double Positive(string name, double otherwise)
    {
        double number = Number(name, otherwise);
        return number > 0 ? number : throw Wrong(name, Find(name)!.Value, "a number above 0");
    }

    /// <summary>true or false, or the default.</summary>
    public bool Bool(string name, bool otherwise) => Find(name) is not JsonElement value
        ? otherwise
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(name, value, "true or false");

    /// <summary>A list of finite numbers above zero, or null.</summary>
    public double[]? Positives(string name)
    {
        if (Find(name) is not JsonElement value)
        {
            return null;
        }
        return value.ValueKind == JsonValueKind.Array
            ? [.. value.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetDouble(out double number)
                && double.IsFinite(number) && number > 0 ? number : throw Wrong(name, value, "a list of numbers above 0"))]
            : throw Wrong(name, value, "a list of numbers above 0");
    }

    /// <summary>A string, or null.</summary>
    public string? Text(string name) => Find(name) is not JsonElement value
        ? null
        : StringOf(value) ?? throw Wrong(name, value, "a string");

    /// <summary>A list of strings, or null if the field is absent or a single string.</summary>
    public string[]? Texts(string name)
    {
        if (Find(name) is not JsonElement { ValueKind: JsonValueKind.Array } value)
        {
            return null;
        }
        return [.. value.EnumerateArray().Select(item => StringOf(item) ?? throw Wrong(name, value, "a list of strings"))];
    }

    /// <summary>Null for what is no string, and for a string with half a surrogate pair, which is no text.</summary>
    static string? StringOf(JsonElement value)
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

    /// <summary>One token id or a list of them; empty if absent. Negative ids mean none.</summary>
    public int[] TokenIds(string name)
    {
        if (Find(name) is not JsonElement value)
        {
            return [];
        }
        JsonElement[] items = value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : [value];
        return [.. items
            .Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int id)
                ? id
                : throw Wrong(name, value, "a token id or a list of them"))
            .Where(id => id >= 0).Distinct()];
    }

    /// <summary>An object inside this one, or null.</summary>
    public ConfigJson? Object(string name) => Find(name) is not JsonElement value
        ? null
        : value.ValueKind == JsonValueKind.Object ? new($"{file}, {name}", value) : throw Wrong(name, value, "an object");

    /// <summary>An error about a field: what it is, what it should be.</summary>
    public ModelFormatException Wrong(string name, JsonElement value, string expected)
    {
        string found = value.GetRawText();
        return new($"{file}: {name} should be {expected}; it is "
            + $"{SafetensorsHeader.Printable(found.Length > 80 ? found[..80] + "..." : found)}.");
    }

    /// <summary>An error about the file as a whole.</summary>
    public ModelFormatException Wrong(string reason) => new($"{file}: {reason}.");

    /// <summary>The model asks for what is not implemented.</summary>
    public UnsupportedModelException Unsupported(string reason) => new($"{file}: {reason}.");
}
