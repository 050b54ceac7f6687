using System.Text.Json;
using System.Text.Json.Nodes;

namespace KvCuda.Tests.Text;

/// <summary>Finds golden files; what the reference library gave is described where they are made.</summary>
static class TextGolden
{
    public static string Root { get; } = FindRoot();

    public static string Folder => Path.Combine(Root, "tests/KvCuda.Tests/Text/Golden");

    /// <summary>Full vocabularies, if tests/fetch-tokenizers.sh has brought them.</summary>
    public static string FullFolder => Path.Combine(Root, ".tools/tokenizers");

    public static JsonNode Read(string name) => JsonNode.Parse(File.ReadAllText(Path.Combine(Folder, name)))!;

    /// <summary>The tokenizer.json of a family: a base vocabulary with the family's steps in place.</summary>
    public static (byte[] Json, JsonNode Expected) Family(string name)
    {
        JsonNode family = Read($"family-{name}.json");
        JsonNode json = Read($"base-{family["base"]}.json");
        foreach ((string key, JsonNode? value) in family["set"]!.AsObject())
        {
            json[key] = value?.DeepClone();
        }

        foreach ((string key, JsonNode? value) in family["model"]?.AsObject() ?? [])
        {
            json["model"]![key] = value?.DeepClone();
        }

        foreach ((string key, JsonNode? value) in family["vocab"]?.AsObject() ?? [])
        {
            json["model"]!["vocab"]![key] = value?.DeepClone();
        }

        return (JsonSerializer.SerializeToUtf8Bytes(json), family["expected"]!);
    }

    static string FindRoot()
    {
        string? at = AppContext.BaseDirectory;
        while (at is not null && !File.Exists(Path.Combine(at, "KvCuda.sln")))
        {
            at = Path.GetDirectoryName(at);
        }

        return at ?? throw new InvalidOperationException("KvCuda.sln is above none of the folders of the test assembly.");
    }
}
