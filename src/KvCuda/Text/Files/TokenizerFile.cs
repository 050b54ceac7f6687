using System.Text;
using System.Text.Json;
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
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or OverflowException)
        {
            throw new ModelFormatException($"{path}: not a tokenizer file: {e.Message}", e);
        }
    }

    static TokenizerFile ParseCore(ReadOnlySpan<byte> json, string path)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 64 });
        var steps = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        List<AddedToken> added = [];
        BpeFile? model = null;
        Expect(ref reader, JsonTokenType.StartObject, path, "the file");
        while (Read(ref reader) == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            Read(ref reader);
            switch (name)
            {
                case "version" when reader.TokenType != JsonTokenType.Null && reader.GetString() != "1.0":
                    throw new UnsupportedModelException($"{path}: version \"{reader.GetString()}\"; KvCuda reads \"1.0\".");
                case "added_tokens" when reader.TokenType != JsonTokenType.Null:
                    added = ReadAddedTokens(ref reader, path);
                    break;
                case "normalizer" or "pre_tokenizer" or "post_processor" or "decoder":
                    steps[name] = JsonElement.ParseValue(ref reader);
                    break;
                case "model":
                    model = BpeFile.Read(ref reader, path);
                    break;
                default:
                    reader.Skip();
                    break;
            }
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

    static List<AddedToken> ReadAddedTokens(ref Utf8JsonReader reader, string path)
    {
        var tokens = new List<AddedToken>();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new ModelFormatException($"{path}: added_tokens is not a list.");
        }

        while (Read(ref reader) != JsonTokenType.EndArray)
        {
            JsonElement e = JsonElement.ParseValue(ref reader);
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

    internal static JsonTokenType Read(ref Utf8JsonReader reader) =>
        reader.Read() ? reader.TokenType : throw new JsonException("it ends too early");

    internal static void Expect(ref Utf8JsonReader reader, JsonTokenType type, string path, string what)
    {
        if (Read(ref reader) != type)
        {
            throw new ModelFormatException($"{path}: {what} is a {reader.TokenType}, expected a {type}.");
        }
    }
}
