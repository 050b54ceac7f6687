using System.Collections;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace KvCuda.Text.Jinja;

static partial class Py
{
    /// <summary>Takes .NET values in: primitives, strings, JSON, dictionaries and lists of these.</summary>
    public static object? FromObject(object? value, int depth = 0)
    {
        if (depth > MaxDepth)
        {
            throw new InvalidRequestException($"A template variable is nested deeper than {MaxDepth}.");
        }

        switch (value)
        {
            case null or bool or long or double or string:
                return value;
            case int or short or byte or sbyte or ushort or uint:
                return Convert.ToInt64(value, CultureInfo.InvariantCulture);
            case float or decimal:
                return Convert.ToDouble(value, CultureInfo.InvariantCulture);
            case JsonElement json:
                return FromJson(json);
            case JsonNode node:
                using (var document = JsonDocument.Parse(node.ToJsonString()))
                {
                    return FromJson(document.RootElement);
                }

            case IEnumerable<KeyValuePair<string, object?>> map:
                var dict = new Dict();
                foreach ((string key, object? item) in map)
                {
                    dict.Set(key, FromObject(item, depth + 1));
                }

                return dict;
            case IEnumerable list:
                return new Sequence(list.Cast<object?>().Select(item => FromObject(item, depth + 1)).ToList());
            default:
                throw new InvalidRequestException(
                    $"A template variable is a {value.GetType().Name}; use strings, numbers, lists, dictionaries or JSON.");
        }
    }

    static object? FromJson(JsonElement json)
    {
        switch (json.ValueKind)
        {
            case JsonValueKind.Object:
                var dict = new Dict();
                foreach (JsonProperty property in json.EnumerateObject())
                {
                    dict.Set(property.Name, FromJson(property.Value));
                }

                return dict;
            case JsonValueKind.Array:
                return new Sequence(json.EnumerateArray().Select(FromJson).ToList());
            case JsonValueKind.String:
                return json.GetString();
            case JsonValueKind.Number:
                return !json.GetRawText().AsSpan().ContainsAny(".eE") && json.TryGetInt64(out long whole)
                    ? (object)whole : json.GetDouble();
            case JsonValueKind.True or JsonValueKind.False:
                return json.GetBoolean();
            default:
                return null;
        }
    }
}
