// What a generated text must look like: a JSON schema, any JSON object, or a regular expression; compiled once.
using System.Text.Json;

namespace KvCuda.Text.Masks;

/// <summary>A set of texts, as rules over their bytes. Immutable; independent of tokenizers.</summary>
sealed class TextGrammar
{
    const int MaxSchemaBytes = 1 << 20, MaxPatternChars = 1 << 16;

    TextGrammar(ByteNfa nfa, int root) => (Nfa, Root) = (nfa, root);

    public ByteNfa Nfa { get; }

    /// <summary>The rule of a whole text.</summary>
    public int Root { get; }

    /// <summary>The JSON texts that a schema allows.</summary>
    /// <exception cref="InvalidRequestException">It is malformed, or has a word that cannot be enforced; the message names it and its place.</exception>
    public static TextGrammar JsonSchema(JsonElement schema)
    {
        if (schema.GetRawText().Length > MaxSchemaBytes)
        {
            throw new InvalidRequestException($"The schema has more than {MaxSchemaBytes} characters.");
        }
        var nfa = new ByteNfa();
        return new(nfa, new JsonSchemaRules(nfa, schema).Root());
    }

    /// <inheritdoc cref="JsonSchema(JsonElement)"/>
    public static TextGrammar JsonSchema(string schema)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(schema, new JsonDocumentOptions { MaxDepth = 128 });
            return JsonSchema(document.RootElement.Clone());
        }
        catch (JsonException error)
        {
            throw new InvalidRequestException($"The schema is not valid JSON: {error.Message}", error);
        }
    }

    /// <summary>Any JSON object.</summary>
    public static TextGrammar JsonObject()
    {
        var nfa = new ByteNfa();
        return new(nfa, new JsonSchemaRules(nfa, default).AnyObject());
    }

    /// <summary>The texts that a regular expression describes as a whole.</summary>
    /// <exception cref="InvalidRequestException">It is malformed, or not regular.</exception>
    public static TextGrammar Regex(string pattern)
    {
        if (pattern.Length > MaxPatternChars)
        {
            throw new InvalidRequestException($"The pattern has {pattern.Length} characters; at most {MaxPatternChars} are read.");
        }
        var nfa = new ByteNfa();
        int rule = nfa.Rule();
        nfa.End(new PatternRules(nfa, json: false).Add(nfa.StartOf(rule), pattern, search: false));
        return new(nfa, rule);
    }
}
