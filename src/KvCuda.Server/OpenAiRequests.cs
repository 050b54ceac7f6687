using System.Text.Json;
using System.Text.Json.Serialization;

namespace KvCuda.Server;

/// <summary>
/// What both kinds of requests have in common (OpenAI API reference, "Create chat completion" and "Create completion"), and what other servers' clients
/// put beside it. What is not here is in <see cref="Others"/>, of which <see cref="FieldRules"/> says what becomes.
/// </summary>
abstract class OpenAiRequest
{
    public string? Model { get; set; }
    public int? MaxTokens { get; set; }
    public int? NPredict { get; set; } // llama.cpp's name of the same
    public float? Temperature { get; set; }
    public float? TopP { get; set; }
    public int? N { get; set; }
    public bool? Stream { get; set; }
    public StreamOptions? StreamOptions { get; set; }
    public JsonElement? Stop { get; set; } // string or array of strings
    public List<int>? StopTokenIds { get; set; }
    public long? Seed { get; set; }
    public float? PresencePenalty { get; set; }
    public float? FrequencyPenalty { get; set; }
    public JsonElement? LogitBias { get; set; }
    public int? TruncatePromptTokens { get; set; }
    public bool? AddSpecialTokens { get; set; }

    // What Extras has too, where vLLM's, SGLang's and llama.cpp's clients put it.
    public int? TopK { get; set; }
    public float? MinP { get; set; }
    public float? RepetitionPenalty { get; set; }
    public float? RepeatPenalty { get; set; }
    public bool? IgnoreEos { get; set; }
    public string? CacheSalt { get; set; }
    public int? Priority { get; set; }
    public bool? CachePrompt { get; set; }

    /// <summary>What the engine has and OpenAI's API does not.</summary>
    [JsonPropertyName("kvcuda")]
    public Extras? KvCuda { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Others { get; set; }
}

/// <summary>The body of <c>POST /v1/chat/completions</c>.</summary>
sealed class ChatCompletionRequest : OpenAiRequest
{
    public List<MessageBody?>? Messages { get; set; }
    public int? MaxCompletionTokens { get; set; }
    public bool? Logprobs { get; set; }
    public int? TopLogprobs { get; set; }
    public ResponseFormatBody? ResponseFormat { get; set; }
    public string? ReasoningEffort { get; set; }
    public Dictionary<string, JsonElement>? ChatTemplateKwargs { get; set; } // as other servers call it
    public bool? AddGenerationPrompt { get; set; }
    public bool? ContinueFinalMessage { get; set; }
    public JsonElement? Documents { get; set; }
    public JsonElement? Tools { get; set; }
    public JsonElement? ToolChoice { get; set; }
    public JsonElement? Functions { get; set; }
    public JsonElement? FunctionCall { get; set; }
    public JsonElement? Modalities { get; set; }
    public JsonElement? Audio { get; set; }
    public JsonElement? WebSearchOptions { get; set; }
}

/// <summary>The body of <c>POST /v1/completions</c>.</summary>
sealed class CompletionRequest : OpenAiRequest
{
    public JsonElement? Prompt { get; set; } // string, array of one string, array of token ids, array of one of those
    public int? Logprobs { get; set; }
    public int? BestOf { get; set; }
    public bool? Echo { get; set; }
    public JsonElement? Suffix { get; set; }
}

sealed class StreamOptions
{
    public bool? IncludeUsage { get; set; }
    public bool? IncludeObfuscation { get; set; } // padding against eavesdroppers by size; there is none

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Others { get; set; }
}

sealed class ResponseFormatBody
{
    public string? Type { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Others { get; set; }
}

/// <summary>A message; what is not here is seen by the template as it is.</summary>
sealed class MessageBody
{
    public string? Role { get; set; }
    public JsonElement? Content { get; set; } // string, or array of text parts
    public JsonElement? ToolCalls { get; set; }
    public JsonElement? FunctionCall { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Others { get; set; }
}

/// <summary>The <c>kvcuda</c> object. It is ours, so that a name in it that is not known is an error.</summary>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
sealed class Extras
{
    /// <summary>Separates what is cached within a key's own tokens.</summary>
    public string? Salt { get; set; }

    /// <summary><c>shared</c> (default) or <c>none</c>: nothing is found and nothing is left behind.</summary>
    public string? Cache { get; set; }

    /// <summary>How much the request's tokens are worth keeping, 0 to 100.</summary>
    public int? Priority { get; set; }

    /// <summary>Seconds that they stay without use.</summary>
    public double? Ttl { get; set; }

    public int? TopK { get; set; }
    public float? MinP { get; set; }
    public float? RepetitionPenalty { get; set; }
    public bool? IgnoreEos { get; set; }

    /// <summary>A text's prompt that spells a special token has that token (default); false: it has its letters.</summary>
    public bool? ParseSpecial { get; set; }

    /// <summary><c>stop</c> (default) or <c>slide</c> at the end of the context.</summary>
    public string? WhenFull { get; set; }

    public int? Sinks { get; set; }
    public int? Window { get; set; }
}

[JsonSerializable(typeof(ChatCompletionRequest))]
[JsonSerializable(typeof(CompletionRequest))]
[JsonSerializable(typeof(TokenizeRequest))]
[JsonSerializable(typeof(DetokenizeRequest))]
sealed partial class OpenAiJson : JsonSerializerContext
{
    /// <summary>Deepest nesting of a body; schemas of tools go to about 20.</summary>
    public const int MaxDepth = 32;

    public static OpenAiJson Strict { get; } = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, MaxDepth = MaxDepth, AllowDuplicateProperties = false,
    });
}
