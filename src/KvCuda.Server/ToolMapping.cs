// Tools and calls of OpenAI's API, as chat templates know them.
using System.Text.Json;

namespace KvCuda.Server;

/// <summary>Tools that a request offers, and calls in its messages.</summary>
static class ToolMapping
{
    const int MostTools = 128;

    /// <summary>The names of offered tools.</summary>
    /// <exception cref="ApiException">400: one has none, or there are too many.</exception>
    public static HashSet<string> Names(JsonElement tools)
    {
        if (tools.ValueKind != JsonValueKind.Array || tools.GetArrayLength() > MostTools)
        {
            throw ApiException.Bad($"tools must be a list of at most {MostTools} tools.", "tools");
        }
        HashSet<string> names = new(StringComparer.Ordinal);
        foreach (JsonElement tool in tools.EnumerateArray())
        {
            if (tool.ValueKind != JsonValueKind.Object || !tool.TryGetProperty("type", out JsonElement type) || !type.ValueEquals("function")
                || !tool.TryGetProperty("function", out JsonElement function) || function.ValueKind != JsonValueKind.Object
                || !function.TryGetProperty("name", out JsonElement name) || name.ValueKind != JsonValueKind.String || name.GetString()!.Length is 0 or > 256)
            {
                throw ApiException.Bad($"tools[{names.Count}] must be of type function, with a function that has a name.", $"tools[{names.Count}]");
            }
            if (function.TryGetProperty("strict", out JsonElement strict) && strict.ValueKind == JsonValueKind.True)
            {
                throw ApiException.Bad($"tools[{names.Count}].function.strict asks for what this server cannot do: nothing makes sure that arguments follow the schema.",
                    $"tools[{names.Count}].function.strict", "unsupported_parameter");
            }
            if (!names.Add(name.GetString()!))
            {
                throw ApiException.Bad($"tools has {name.GetString()} twice.", "tools");
            }
        }
        return names;
    }

    /// <summary>Calls of an earlier answer: templates want their arguments as objects, the API has them as texts.</summary>
    /// <exception cref="ApiException">400: one is malformed.</exception>
    public static List<object?> Calls(JsonElement calls, string at)
    {
        List<object?> all = [];
        foreach (JsonElement call in calls.ValueKind == JsonValueKind.Array ? calls.EnumerateArray() : throw Wrong("must be a list"))
        {
            if (call.ValueKind != JsonValueKind.Object || !call.TryGetProperty("function", out JsonElement function) || function.ValueKind != JsonValueKind.Object
                || !function.TryGetProperty("name", out JsonElement name) || name.ValueKind != JsonValueKind.String)
            {
                throw Wrong("must have a function with a name each");
            }
            object? arguments = new Dictionary<string, object?>();
            if (function.TryGetProperty("arguments", out JsonElement given))
            {
                try
                {
                    arguments = given.ValueKind == JsonValueKind.String ? JsonElement.Parse(given.GetString()!.Length == 0 ? "{}" : given.GetString()!) : given;
                }
                catch (JsonException)
                {
                    throw Wrong("must have JSON as arguments");
                }
            }
            all.Add(new Dictionary<string, object?>
            {
                ["id"] = call.TryGetProperty("id", out JsonElement id) && id.ValueKind == JsonValueKind.String ? id.GetString() : "",
                ["type"] = "function",
                ["function"] = new Dictionary<string, object?> { ["name"] = name.GetString(), ["arguments"] = arguments },
            });
        }
        return all;

        ApiException Wrong(string rule) => ApiException.Bad($"{at} {rule}.", at);
    }
}
