// Tools, calls and results of Microsoft.Extensions.AI, as chat templates know them.
using System.Text.Json;
using Microsoft.Extensions.AI;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;
using Message = KvCuda.Text.ChatMessage;

namespace KvCuda.Extensions;

/// <summary>Messages with calls and results of tools, in the form that templates of Hugging Face folders expect.</summary>
static class ToolMessages
{
    /// <summary>What a template sees as <c>tools</c>: a list of functions with their JSON schemas.</summary>
    public static List<object?> Describe(IEnumerable<AIFunctionDeclaration> tools) =>
        [.. tools.Select(tool => (object?)new Dictionary<string, object?>
        {
            ["type"] = "function",
            ["function"] = new Dictionary<string, object?> { ["name"] = tool.Name, ["description"] = tool.Description, ["parameters"] = tool.JsonSchema },
        })];

    /// <summary>A message as the template sees it: results of tools are a message each.</summary>
    /// <exception cref="InvalidRequestException">It has content that is no text, call or result.</exception>
    public static IEnumerable<Message> Read(ChatMessage message, int index)
    {
        foreach (AIContent content in message.Contents)
        {
            // An earlier answer's thoughts and figures are no part of what was said.
            if (content is not (TextContent or TextReasoningContent or UsageContent or FunctionCallContent or FunctionResultContent))
            {
                throw new InvalidRequestException($"Message {index + 1} ({message.Role.Value}) has a {content.GetType().Name}; KvCuda's models read text only.");
            }
        }
        FunctionCallContent[] calls = [.. message.Contents.OfType<FunctionCallContent>()];
        FunctionResultContent[] results = [.. message.Contents.OfType<FunctionResultContent>()];
        if (results.Length == 0 || message.Text.Length > 0 || calls.Length > 0)
        {
            yield return new(message.Role.Value, message.Text)
            {
                More = calls.Length == 0 ? null : new Dictionary<string, object?> { ["tool_calls"] = calls.Select(Call).ToList() },
            };
        }
        foreach (FunctionResultContent result in results)
        {
            yield return new("tool", Text(result)) { More = new Dictionary<string, object?> { ["tool_call_id"] = result.CallId } };
        }
    }

    static object? Call(FunctionCallContent call) => new Dictionary<string, object?>
    {
        ["id"] = call.CallId,
        ["type"] = "function",
        ["function"] = new Dictionary<string, object?>
        {
            ["name"] = call.Name,
            ["arguments"] = (call.Arguments ?? new Dictionary<string, object?>()).ToDictionary(argument => argument.Key, argument => Value(argument.Value), StringComparer.Ordinal),
        },
    };

    static string Text(FunctionResultContent result) => result.Result switch
    {
        null => result.Exception is { } error ? "Error: " + error.Message : "",
        string text => text,
        JsonElement { ValueKind: JsonValueKind.String } text => text.GetString()!,
        JsonElement json => json.GetRawText(),
        { } other => Convert.ToString(other, System.Globalization.CultureInfo.InvariantCulture) ?? "",
    };

    // What templates can print: JSON's own kinds.
    static object? Value(object? value) => value is null or string or bool or int or long or double or JsonElement ? value
        : Convert.ToString(value, System.Globalization.CultureInfo.InvariantCulture);
}
