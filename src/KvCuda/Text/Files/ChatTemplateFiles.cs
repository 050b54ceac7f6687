// Where the chat templates of a model folder are, by name.
using System.Text.Json;

namespace KvCuda.Text.Files;

/// <summary>
/// The chat templates of a folder. A file wins over a field: <c>additional_chat_templates/NAME.jinja</c> and
/// <c>chat_template.jinja</c> ("default") over <c>chat_template.json</c> (older processors) over <c>chat_template</c> of
/// <c>tokenizer_config.json</c> (a text, or a list of named ones).
/// </summary>
static class ChatTemplateFiles
{
    /// <summary>Name to source and place.</summary>
    /// <exception cref="ModelFormatException">A file cannot be read, or the field is neither a text nor named texts.</exception>
    public static SortedDictionary<string, (string Source, string Place)> Read(string folder)
    {
        var found = new SortedDictionary<string, (string, string)>(StringComparer.Ordinal);
        foreach (string name in (ReadOnlySpan<string>)["tokenizer_config.json", "chat_template.json"])
        {
            AddField(FolderJson.Read(folder, name), found);
        }
        string file = Path.Combine(folder, "chat_template.jinja"), more = Path.Combine(folder, "additional_chat_templates");
        if (File.Exists(file))
        {
            found["default"] = (FolderJson.ReadText(file), file);
        }
        foreach (string path in Directory.Exists(more) ? Directory.EnumerateFiles(more, "*.jinja") : [])
        {
            found[Path.GetFileNameWithoutExtension(path)] = (FolderJson.ReadText(path), path);
        }
        return found;
    }

    static void AddField(FolderJson json, SortedDictionary<string, (string, string)> found)
    {
        if (json.Find("chat_template") is not JsonElement template)
        {
            return;
        }
        string place = json.Path + ", chat_template";
        switch (template.ValueKind)
        {
            case JsonValueKind.String:
                found["default"] = (json.Text("chat_template")!, place);
                break;
            case JsonValueKind.Object:
                foreach (JsonProperty entry in template.EnumerateObject())
                {
                    found[entry.Name] = (FolderJson.StringOf(entry.Value) ?? throw Wrong(), place);
                }
                break;
            case JsonValueKind.Array:
                foreach (JsonElement entry in template.EnumerateArray())
                {
                    if (entry.ValueKind != JsonValueKind.Object
                        || !entry.TryGetProperty("name"u8, out JsonElement name) || !entry.TryGetProperty("template"u8, out JsonElement text)
                        || FolderJson.StringOf(name) is not string key || FolderJson.StringOf(text) is not string source)
                    {
                        throw Wrong();
                    }
                    found[key] = (source, place);
                }
                break;
            default:
                throw Wrong();
        }

        ModelFormatException Wrong() => json.Wrong("chat_template", "a text, or a list of {\"name\": .., \"template\": ..}");
    }
}
