using System.Text.Json;
using KvCuda.Engine;
using KvCuda.Text;

namespace KvCuda.Server;

/// <summary>
/// What was asked for in OpenAI's terms, in the engine's. What the engine cannot do, and what would silently give something else, is one error
/// that names the parameter.
/// </summary>
static class RequestMapping
{
    /// <summary>How to generate an answer to a chat.</summary>
    /// <param name="asked">the body</param>
    /// <param name="salt">the caller's</param>
    /// <param name="maxTokens">where nothing else was asked for</param>
    public static GenerateOptions Generate(ChatCompletionRequest asked, string salt, int maxTokens)
    {
        Refuse("tool_choice", Given(asked.ToolChoice) && !Is(asked.ToolChoice, "none") && !Is(asked.ToolChoice, "auto"),
            "whether a tool is called is the model's choice; auto and none can be asked for");
        Refuse("functions", Given(asked.Functions), "tools are the present form of it");
        Refuse("function_call", Given(asked.FunctionCall) && !Is(asked.FunctionCall, "none") && !Is(asked.FunctionCall, "auto"), "answers are text");
        Refuse("response_format", asked.ResponseFormat is { Type: not "text" } or { Others.Count: > 0 }, "nothing makes sure that an answer is JSON; ask for it in the prompt and check what comes");
        Refuse("modalities", asked.Modalities is { ValueKind: JsonValueKind.Array } kinds && kinds.EnumerateArray().Any(kind => !Is(kind, "text")), "answers are text");
        Refuse("audio", Given(asked.Audio), "answers are text");
        Refuse("web_search_options", Given(asked.WebSearchOptions), "there is no search");
        Require("top_logprobs", asked.TopLogprobs is null || asked.Logprobs is true, "needs logprobs: true");
        Require("top_logprobs", asked.TopLogprobs is null or (>= 0 and <= 20), "must be from 0 to 20");
        Require("max_completion_tokens", asked.MaxCompletionTokens is null or >= 1, "must be at least 1");
        Require("continue_final_message", asked.ContinueFinalMessage is not true || asked.AddGenerationPrompt is not true,
            "goes on with the last message, so add_generation_prompt cannot begin another");
        return Common(asked, salt, asked.MaxCompletionTokens ?? asked.MaxTokens ?? asked.NPredict ?? maxTokens) with
        {
            Logprobs = asked.Logprobs is true ? asked.TopLogprobs ?? 0 : null,
        };
    }

    /// <summary>How to go on with a text.</summary>
    /// <inheritdoc cref="Generate(ChatCompletionRequest, string, int)"/>
    public static GenerateOptions Generate(CompletionRequest asked, string salt, int maxTokens)
    {
        Refuse("best_of", asked.BestOf is not (null or 1), "one answer is generated");
        Refuse("echo", asked.Echo is true, "answers do not repeat the prompt");
        Refuse("suffix", Given(asked.Suffix) && !Is(asked.Suffix, ""), "text is only generated at the end");
        Require("logprobs", asked.Logprobs is null or (>= 0 and <= 20), "must be from 0 to 20");
        return Common(asked, salt, asked.MaxTokens ?? asked.NPredict ?? maxTokens) with { Logprobs = asked.Logprobs };
    }

    static GenerateOptions Common(OpenAiRequest asked, string salt, int maxTokens)
    {
        FieldRules.Check(asked.Others);
        FieldRules.Check(asked.StreamOptions?.Others, "stream_options.");
        Refuse("n", asked.N is not (null or 1), "one answer is generated");
        Refuse("presence_penalty", asked.PresencePenalty is not (null or 0), "there is kvcuda.repetition_penalty");
        Refuse("frequency_penalty", asked.FrequencyPenalty is not (null or 0), "there is kvcuda.repetition_penalty");
        Refuse("logit_bias", asked.LogitBias is { ValueKind: not JsonValueKind.Null } bias
            && !(bias.ValueKind == JsonValueKind.Object && !bias.EnumerateObject().Any()), "single tokens cannot be favoured");
        Require("max_tokens", asked.MaxTokens is null or >= 1, "must be at least 1");
        Require("n_predict", asked.NPredict is null || asked.MaxTokens is null, "is max_tokens by another name; give one of them");
        Require("n_predict", asked.NPredict is null or >= 1, "must be at least 1");
        Require("truncate_prompt_tokens", asked.TruncatePromptTokens is null or >= 1 or -1, "must be at least 1, or -1 for what the context holds");
        Require("stop_token_ids", asked.StopTokenIds is null || (asked.StopTokenIds.Count <= 64 && asked.StopTokenIds.All(id => id >= 0)),
            "takes at most 64 token ids");
        Require("cache_salt", asked.CacheSalt is null or { Length: >= 1 and <= 256 }, "must have 1 to 256 characters");
        Require("temperature", asked.Temperature is null or (>= 0 and <= 2), "must be from 0 to 2");
        Require("top_p", asked.TopP is null or (> 0 and <= 1), "must be above 0 and at most 1");
        Require("stream_options", asked.StreamOptions is null || asked.Stream is true, "is for streams: stream must be true");
        Extras own = WithAliases(asked);
        Require("kvcuda.salt", own.Salt is null or { Length: <= 256 }, "must have at most 256 characters");
        Require("kvcuda.cache", own.Cache is null or "shared" or "none", "must be shared or none");
        Require(asked.Priority is null ? "kvcuda.priority" : "priority", own.Priority is null or (>= 0 and <= 100), "must be from 0 to 100");
        Require("kvcuda.ttl", own.Ttl is null or (>= 0.001 and <= 31_536_000), "must be from 0.001 to 31536000 seconds");
        Require(asked.TopK is null ? "kvcuda.top_k" : "top_k", own.TopK is null or >= 0, "must be 0 (all) or more");
        Require(asked.MinP is null ? "kvcuda.min_p" : "min_p", own.MinP is null or (>= 0 and <= 1), "must be from 0 to 1");
        Require(asked.RepetitionPenalty is not null ? "repetition_penalty" : asked.RepeatPenalty is not null ? "repeat_penalty" : "kvcuda.repetition_penalty", own.RepetitionPenalty is null or (> 0 and <= 100), "must be above 0, at most 100");
        Require("kvcuda.when_full", own.WhenFull is null or "stop" or "slide", "must be stop or slide");
        Require("kvcuda.window", own.Window is null || own.WhenFull == "slide", "needs when_full: slide");
        Require("kvcuda.sinks", own.Sinks is null || own.WhenFull == "slide", "needs when_full: slide");
        float temperature = asked.Temperature ?? 0;
        GenerateOptions generate = new()
        {
            MaxTokens = maxTokens,
            Temperature = temperature,
            TopP = asked.TopP ?? 1,
            TopK = own.TopK ?? 0,
            MinP = own.MinP ?? 0,
            RepetitionPenalty = own.RepetitionPenalty ?? 1,
            // One that is drawn here fits into a JavaScript number, so that it can be told and sent back.
            Seed = asked.Seed is { } seed and not -1 ? unchecked((ulong)seed) : (ulong)Random.Shared.NextInt64(1L << 53),
            Stop = Stops(asked.Stop),
            StopTokens = asked.StopTokenIds ?? [],
            IgnoreEos = own.IgnoreEos ?? false,
            Salt = string.IsNullOrEmpty(own.Salt) ? salt : $"{salt}/{own.Salt}",
            Cache = own.Cache == "none" ? CacheScope.Session : CacheScope.Shared,
            Retention = own.Priority is null && own.Ttl is null ? [] :
                [new(0, null, own.Priority ?? 35, own.Ttl is { } seconds ? TimeSpan.FromSeconds(seconds) : null)],
            WhenFull = own.WhenFull == "slide" ? ContextFull.Slide : ContextFull.Stop,
            Window = own.Window,
        };
        return own.Sinks is { } sinks ? generate with { Sinks = sinks } : generate;
    }

    // Some fields have two places: ours, and where other servers have them.
    static Extras WithAliases(OpenAiRequest asked)
    {
        Extras own = asked.KvCuda ?? new();
        Require("repeat_penalty", asked.RepeatPenalty is null || asked.RepetitionPenalty is null, "is repetition_penalty by another name; give one of them");
        return new()
        {
            Salt = One("salt", own.Salt, "cache_salt", asked.CacheSalt),
            Cache = One("cache", own.Cache, "cache_prompt", asked.CachePrompt is false ? "none" : null),
            Priority = One("priority", own.Priority, "priority", asked.Priority),
            Ttl = own.Ttl,
            TopK = One("top_k", own.TopK, "top_k", asked.TopK is -1 ? 0 : asked.TopK), // vLLM's "all"
            MinP = One("min_p", own.MinP, "min_p", asked.MinP),
            RepetitionPenalty = One("repetition_penalty", own.RepetitionPenalty, "repetition_penalty", asked.RepetitionPenalty ?? asked.RepeatPenalty),
            IgnoreEos = One("ignore_eos", own.IgnoreEos, "ignore_eos", asked.IgnoreEos),
            ParseSpecial = own.ParseSpecial,
            WhenFull = own.WhenFull,
            Sinks = own.Sinks,
            Window = own.Window,
        };

        static T? One<T>(string name, T? mine, string alias, T? theirs)
        {
            Require(alias, mine is null || theirs is null, $"is kvcuda.{name} by another name; give one of them");
            return mine is null ? theirs : mine;
        }
    }

    static IReadOnlyList<string> Stops(JsonElement? asked)
    {
        List<string> stops = [];
        switch (asked)
        {
            case null or { ValueKind: JsonValueKind.Null }:
                break;
            case { ValueKind: JsonValueKind.String } one:
                stops.Add(one.GetString()!);
                break;
            case { ValueKind: JsonValueKind.Array } several:
                foreach (JsonElement stop in several.EnumerateArray())
                {
                    Require("stop", stop.ValueKind == JsonValueKind.String, "must be a text or a list of texts");
                    stops.Add(stop.GetString()!);
                }
                break;
            default:
                throw ApiException.Bad("stop must be a text or a list of texts.", "stop");
        }
        Require("stop", stops.Count <= 16 && stops.All(stop => stop.Length is >= 1 and <= 1024), "takes at most 16 texts of 1 to 1024 characters");
        return stops;
    }

    /// <summary>The conversation.</summary>
    public static IReadOnlyList<ChatMessage> Messages(ChatCompletionRequest asked)
    {
        Require("messages", asked.Messages is { Count: > 0 }, "must have at least one message");
        List<ChatMessage> messages = [];
        foreach (MessageBody? message in asked.Messages!)
        {
            string at = $"messages[{messages.Count}]";
            string role = message?.Role switch
            {
                "system" or "developer" => "system", // templates know the former
                "user" or "assistant" or "tool" => message.Role,
                null => throw ApiException.Bad($"{at} has no role.", $"{at}.role"),
                _ => throw ApiException.Bad($"{at}.role must be system, developer, user, assistant or tool.", $"{at}.role"),
            };
            Refuse($"{at}.function_call", Given(message.FunctionCall), "tool_calls are the present form of it");
            Dictionary<string, object?>? more = More(message.Others);
            bool calls = role == "assistant" && Given(message.ToolCalls);
            if (calls)
            {
                (more ??= [])["tool_calls"] = ToolMapping.Calls(message.ToolCalls!.Value, $"{at}.tool_calls");
            }
            string content = calls && !Given(message.Content) ? "" : Content(message.Content, $"{at}.content");
            messages.Add(new(role, content) { More = more });
        }
        return messages;
    }

    // A template sees what it knows of a message, and nothing else is to be done with it.
    static Dictionary<string, object?>? More(Dictionary<string, JsonElement>? others)
    {
        foreach ((_, JsonElement value) in others ?? [])
        {
            CheckTexts(value);
        }
        return others?.ToDictionary(other => other.Key, other => (object?)other.Value, StringComparer.Ordinal);
    }

    static string Content(JsonElement? content, string at)
    {
        if (content is { ValueKind: JsonValueKind.String } text)
        {
            return text.GetString()!;
        }
        if (content is not { ValueKind: JsonValueKind.Array } parts)
        {
            throw ApiException.Bad($"{at} must be a text or a list of text parts.", at);
        }
        System.Text.StringBuilder all = new();
        int i = 0;
        foreach (JsonElement part in parts.EnumerateArray())
        {
            if (part.ValueKind != JsonValueKind.Object || !part.TryGetProperty("type", out JsonElement type) || !Is(type, "text")
                || !part.TryGetProperty("text", out JsonElement said) || said.ValueKind != JsonValueKind.String)
            {
                throw ApiException.Bad($"{at}[{i}] is no text part; the model reads text only.", $"{at}[{i}]");
            }
            all.Append(said.GetString());
            i++;
        }
        return all.ToString();
    }

    /// <summary>What the template sees beside the messages.</summary>
    public static ChatContext Context(ChatCompletionRequest asked)
    {
        Dictionary<string, object?> variables = new(StringComparer.Ordinal);
        if (asked.ReasoningEffort is { } effort)
        {
            variables["enable_thinking"] = effort != "none";
        }
        if (Given(asked.Tools) && !Is(asked.ToolChoice, "none"))
        {
            CheckTexts(asked.Tools!.Value);
            variables["tools"] = asked.Tools;
        }
        if (Given(asked.Documents))
        {
            CheckTexts(asked.Documents!.Value);
            variables["documents"] = asked.Documents;
        }
        foreach ((string name, JsonElement value) in asked.ChatTemplateKwargs ?? [])
        {
            Require("chat_template_kwargs", name is not ("messages" or "tools" or "documents" or "add_generation_prompt"),
                $"has {(name.Length <= 40 ? name : name[..40])}, which is a parameter of its own");
            CheckTexts(value);
            variables[name] = value;
        }
        return new()
        {
            Variables = variables.Count == 0 ? null : variables,
            AddGenerationPrompt = asked.AddGenerationPrompt ?? true,
            ContinueFinalMessage = asked.ContinueFinalMessage ?? false,
        };
    }

    // What the template will read can be read.
    static void CheckTexts(JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                _ = value.GetString();
                break;
            case JsonValueKind.Array:
                foreach (JsonElement element in value.EnumerateArray())
                {
                    CheckTexts(element);
                }
                break;
            case JsonValueKind.Object:
                foreach (JsonProperty property in value.EnumerateObject())
                {
                    _ = property.Name;
                    CheckTexts(property.Value);
                }
                break;
            default:
                break;
        }
    }

    /// <summary>The text to go on with, or its tokens.</summary>
    public static (string? Text, IReadOnlyList<int>? Tokens) Prompt(CompletionRequest asked)
    {
        const string expected = "must be a text, or a list of token ids; one prompt per request";
        JsonElement prompt = asked.Prompt ?? throw ApiException.Bad("prompt is missing.", "prompt");
        if (prompt.ValueKind == JsonValueKind.Array && prompt.GetArrayLength() == 1 && prompt[0].ValueKind is JsonValueKind.String or JsonValueKind.Array)
        {
            prompt = prompt[0];
        }
        if (prompt.ValueKind == JsonValueKind.String)
        {
            return (prompt.GetString()!, null);
        }
        Require("prompt", prompt.ValueKind == JsonValueKind.Array && prompt.GetArrayLength() > 0, expected);
        List<int> tokens = new(prompt.GetArrayLength());
        foreach (JsonElement element in prompt.EnumerateArray())
        {
            int id = 0;
            Require("prompt", element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out id), expected);
            tokens.Add(id);
        }
        return (null, tokens);
    }

    /// <summary>The names of the tools that may be called.</summary>
    public static HashSet<string> Tools(ChatCompletionRequest asked) =>
        Given(asked.Tools) && !Is(asked.ToolChoice, "none") ? ToolMapping.Names(asked.Tools!.Value) : [];

    // null, and what has nothing in it, says nothing.
    static bool Given(JsonElement? value) => value switch
    {
        null or { ValueKind: JsonValueKind.Null } => false,
        { ValueKind: JsonValueKind.Array } list => list.GetArrayLength() > 0,
        _ => true,
    };

    static bool Is(JsonElement? value, string text) => value is { ValueKind: JsonValueKind.String } said && said.ValueEquals(text);

    static void Refuse(string parameter, bool asked, string reason)
    {
        if (asked)
        {
            throw ApiException.Bad($"{parameter} asks for what this server cannot do: {reason}.", parameter, "unsupported_parameter");
        }
    }

    static void Require(string parameter, bool condition, string rule)
    {
        if (!condition)
        {
            throw ApiException.Bad($"{parameter} {rule}.", parameter);
        }
    }
}
