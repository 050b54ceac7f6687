using KvCuda.Engine;
using KvCuda.Text;
using Microsoft.Extensions.AI;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;
using Message = KvCuda.Text.ChatMessage;

namespace KvCuda.Extensions;

/// <summary>
/// What a caller of <see cref="IChatClient"/> asked for, in the engine's terms.
/// </summary>
/// <param name="Messages">role and text</param>
/// <param name="Generate">how the answer is generated</param>
/// <param name="Context">what else the template sees</param>
/// <remarks>
/// What the abstractions say may be ignored is ignored: background responses, the number of tool calls, reasoning beyond what a template
/// knows as <c>enable_thinking</c>. What would silently give something else than was asked for is one error, unless
/// <see cref="KvChatClientOptions.IgnoreUnsupportedOptions"/> leaves it out. Content that is no text is always an error: an answer to half of a message
/// is none.
/// </remarks>
/// <param name="Tools">names that may be called</param>
sealed record ChatRequest(IReadOnlyList<Message> Messages, GenerateOptions Generate, ChatContext Context, IReadOnlySet<string> Tools)
{
    /// <exception cref="InvalidRequestException">It asks for what the engine cannot do; the message names everything of it.</exception>
    public static ChatRequest Of(IEnumerable<ChatMessage> messages, ChatOptions? asked, KvChatClientOptions client, IChatClient self, string model)
    {
        List<Message> said = [.. messages.SelectMany(ToolMessages.Read)];
        asked ??= new();
        Dictionary<string, object?>? variables = Variables(asked, client);
        List<AIFunctionDeclaration> tools = asked.ToolMode is NoneChatToolMode ? [] : [.. (asked.Tools ?? []).OfType<AIFunctionDeclaration>()];
        if (tools.Count > 0)
        {
            (variables ??= new(StringComparer.Ordinal))["tools"] = ToolMessages.Describe(tools);
        }
        string[] refused = client.IgnoreUnsupportedOptions ? [] : [.. Unsupported(asked, model)];
        if (refused.Length > 0)
        {
            throw new InvalidRequestException($"The request asks for what KvCuda cannot do: {string.Join("; ", refused)}. "
                + "IgnoreUnsupportedOptions leaves such options out.");
        }
        GenerateOptions start = asked.RawRepresentationFactory?.Invoke(self) switch
        {
            null => client.Generate,
            GenerateOptions own => own,
            { } other => throw new InvalidRequestException(
                $"RawRepresentationFactory gave a {other.GetType().FullName}; this client takes {typeof(GenerateOptions).FullName}."),
        };
        GenerateOptions generate = start with
        {
            MaxTokens = asked.MaxOutputTokens ?? start.MaxTokens,
            Temperature = asked.Temperature ?? start.Temperature,
            TopP = asked.TopP ?? start.TopP,
            TopK = asked.TopK ?? start.TopK,
            Seed = asked.Seed is { } seed ? unchecked((ulong)seed) : start.Seed,
            Stop = asked.StopSequences is { Count: > 0 } stop ? [.. start.Stop, .. stop] : start.Stop,
            MinP = Number(asked, "min_p") ?? start.MinP,
            RepetitionPenalty = Number(asked, "repetition_penalty") ?? start.RepetitionPenalty,
        };
        generate.Validate();
        return new(said, generate, new() { Instructions = asked.Instructions, Variables = variables },
            tools.Select(tool => tool.Name).ToHashSet(StringComparer.Ordinal));
    }

    static IEnumerable<string> Unsupported(ChatOptions asked, string model)
    {
        if (asked.ToolMode is not NoneChatToolMode && (asked.Tools ?? []).Where(tool => tool is not AIFunctionDeclaration).ToList() is { Count: > 0 } others)
        {
            yield return $"{others.Count} tools that are no functions ({others[0].GetType().Name})";
        }
        if (asked.ToolMode is RequiredChatToolMode)
        {
            yield return "a tool call (whether one is made is the model's choice)";
        }
        if (asked.ResponseFormat is not (null or ChatResponseFormatText))
        {
            yield return "JSON (nothing makes sure that an answer is; ask for it in the prompt and check what comes)";
        }
        if (asked.FrequencyPenalty is not (null or 0))
        {
            yield return $"a frequency penalty of {asked.FrequencyPenalty} (there is repetition_penalty, in AdditionalProperties)";
        }
        if (asked.PresencePenalty is not (null or 0))
        {
            yield return $"a presence penalty of {asked.PresencePenalty} (there is repetition_penalty, in AdditionalProperties)";
        }
        if (asked.ModelId is { } id && !string.Equals(id, model, StringComparison.OrdinalIgnoreCase))
        {
            yield return $"the model {id} (this client's is {model})";
        }
    }

    static float? Number(ChatOptions asked, string name)
    {
        if (asked.AdditionalProperties?.TryGetValue(name, out object? value) is not true || value is null)
        {
            return null;
        }
        return value switch
        {
            float or double or decimal or int or long => Convert.ToSingle(value, System.Globalization.CultureInfo.InvariantCulture),
            System.Text.Json.JsonElement { ValueKind: System.Text.Json.JsonValueKind.Number } number => number.GetSingle(),
            _ => throw new InvalidRequestException($"AdditionalProperties has {name} = {value}; it must be a number."),
        };
    }

    // Later ones count: the client's, the request's reasoning, the request's own.
    static Dictionary<string, object?>? Variables(ChatOptions asked, KvChatClientOptions client)
    {
        Dictionary<string, object?> all = new(client.TemplateVariables ?? new Dictionary<string, object?>(), StringComparer.Ordinal);
        if (asked.Reasoning?.Effort is { } effort)
        {
            all["enable_thinking"] = effort != ReasoningEffort.None;
        }
        if (asked.AdditionalProperties?.TryGetValue("chat_template_kwargs", out object? own) is true && own is not null)
        {
            foreach ((string name, object? value) in own switch
            {
                IEnumerable<KeyValuePair<string, object?>> pairs => pairs,
                System.Text.Json.JsonElement { ValueKind: System.Text.Json.JsonValueKind.Object } json =>
                    json.EnumerateObject().Select(property => KeyValuePair.Create(property.Name, (object?)property.Value)),
                _ => throw new InvalidRequestException("AdditionalProperties has chat_template_kwargs that are no dictionary with text keys."),
            })
            {
                all[name] = value;
            }
        }
        return all.Count == 0 ? null : all;
    }
}
