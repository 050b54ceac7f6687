using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using KvCuda.Text.Bpe;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Files;

/// <summary>What <c>tokenizer.json</c> says, read in one pass over its bytes.</summary>
sealed class TokenizerFile
{
    const int MaxAddedTokens = 1 << 20, MaxAddedTokenChars = 4096;

    public required Vocabulary Vocabulary { get; init; }

    public required MergeTable Merges { get; init; }

    public required BpeOptions Options { get; init; }

    /// <summary>In the order of the file, ids as the file has them.</summary>
    public required List<AddedToken> AddedTokens { get; init; }

    /// <summary>The steps, undecoded: null or an object each.</summary>
    public required JsonElement Normalizer { get; init; }

    public required JsonElement PreTokenizer { get; init; }

    public required JsonElement PostProcessor { get; init; }

    public required JsonElement Decoder { get; init; }

    /// <summary>Reads a file.</summary>
    /// <param name="json">All of it.</param>
    /// <param name="path">Its name, for errors.</param>
    public static TokenizerFile Parse(ReadOnlySpan<byte> json, string path)
    {
        try
        {
            return ParseCore(json.StartsWith("\uFEFF"u8) ? json[3..] : json, path);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or OverflowException
            or KeyNotFoundException)
        {
            throw new ModelFormatException($"{path}: not a tokenizer file: {e.Message}", e);
        }
    }

    static TokenizerFile ParseCore(ReadOnlySpan<byte> json, string path)
    {
        if (!Utf8.IsValid(json))
        {
            throw new ModelFormatException($"{path}: not UTF-8.");
        }

        var cursor = new JsonCursor(json);
        var steps = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        List<AddedToken> added = [];
        BpeFile? model = null;
        byte[] scratch = [];
        cursor.Take('{');
        for (bool first = true; cursor.Next(ref first, '}');)
        {
            string name = Encoding.UTF8.GetString(cursor.String(ref scratch));
            cursor.Take(':');
            switch (name)
            {
                case "version":
                    string? version = cursor.Element().GetString();
                    if (version is not (null or "1.0"))
                    {
                        throw new UnsupportedModelException($"{path}: version \"{version}\"; KvCuda reads \"1.0\".");
                    }

                    break;
                case "added_tokens":
                    added = ReadAddedTokens(cursor.Element(), path);
                    break;
                case "normalizer" or "pre_tokenizer" or "post_processor" or "decoder":
                    steps[name] = cursor.Element();
                    break;
                case "model":
                    model = BpeFile.Read(ref cursor, path);
                    break;
                default:
                    cursor.Value();
                    break;
            }
        }

        if (cursor.Peek() != 0)
        {
            throw cursor.Malformed("something follows the end");
        }

        if (model is null)
        {
            throw new ModelFormatException($"{path}: there is no \"model\".");
        }

        return new TokenizerFile
        {
            Vocabulary = model.Vocabulary,
            Merges = model.Merges,
            Options = model.Options,
            AddedTokens = added,
            Normalizer = steps.GetValueOrDefault("normalizer"),
            PreTokenizer = steps.GetValueOrDefault("pre_tokenizer"),
            PostProcessor = steps.GetValueOrDefault("post_processor"),
            Decoder = steps.GetValueOrDefault("decoder"),
        };
    }

    static List<AddedToken> ReadAddedTokens(JsonElement list, string path)
    {
        var tokens = new List<AddedToken>();
        if (list.ValueKind == JsonValueKind.Null)
        {
            return tokens;
        }

        foreach (JsonElement e in list.EnumerateArray())
        {
            int id = e.GetProperty("id"u8).GetInt32();
            string content = e.GetProperty("content"u8).GetString() ?? "";
            if (id is < 0 or >= Vocabulary.MaxId || content.Length > MaxAddedTokenChars || tokens.Count == MaxAddedTokens)
            {
                throw new ModelFormatException(
                    $"{path}: added token {tokens.Count} (id {id}, {content.Length} characters) is out of bounds.");
            }

            tokens.Add(new AddedToken(id, content, Flag(e, "single_word"), Flag(e, "lstrip"), Flag(e, "rstrip"),
                Flag(e, "normalized"), Flag(e, "special")));
        }

        return tokens;

        static bool Flag(JsonElement e, string name) => e.TryGetProperty(name, out JsonElement value) && value.GetBoolean();
    }
}
