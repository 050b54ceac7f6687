// What a chat model's text says: words, thoughts, and calls of tools.
using System.Text;
using System.Text.Json;

namespace KvCuda.Extensions;

/// <summary>A part of an answer.</summary>
/// <param name="Text">words, or thoughts; empty for a call</param>
/// <param name="IsReasoning">the text is thought (between <c>&lt;think&gt;</c> and <c>&lt;/think&gt;</c>), not said</param>
/// <param name="Call">the name of the tool that is called; null: none is</param>
/// <param name="Arguments">the call's, a JSON object</param>
readonly record struct AnswerPart(string Text, bool IsReasoning = false, string? Call = null, string Arguments = "{}");

/// <summary>
/// Takes an answer's text as it comes and gives its parts as soon as they are certain. Calls of tools are understood as these families write them: Qwen and
/// Hermes (<c>&lt;tool_call&gt;{"name", "arguments"}&lt;/tool_call&gt;</c>), Llama 3 (<c>{"name", "parameters"}</c>), Mistral and Granite (a list of calls, whose
/// marker is a special token or spelled), Gemma and others (JSON, in a fence or not). Only names that were offered are calls: all else is text as it stands.
/// </summary>
/// <param name="tools">names that may be called; empty: text is never a call</param>
/// <param name="thinking">the prompt ended within a thought</param>
sealed class AnswerParser(IReadOnlySet<string> tools, bool thinking = false)
{
    const string ThinkBegins = "<think>", ThinkEnds = "</think>", CallBegins = "<tool_call>", CallEnds = "</tool_call>";

    // Where models write a list or an object of calls by itself, after one of these or nothing.
    static readonly string[] markers = ["[TOOL_CALLS]", "<|tool_call|>", "<|python_tag|>", "```json", "```tool_code", "```tool_call", "```"];

    enum Place
    {
        Start,
        Text,
        Thought,
        Call,
        Json,
    }

    readonly StringBuilder held = new();
    Place place = thinking ? Place.Thought : Place.Start;

    /// <summary>Calls so far.</summary>
    public int Calls { get; private set; }

    /// <summary>Takes more text.</summary>
    public List<AnswerPart> Add(string text)
    {
        held.Append(text);
        List<AnswerPart> parts = [];
        while (Step(parts, last: false))
        {
        }
        return parts;
    }

    /// <summary>The answer is over: what was held back is what it looks like.</summary>
    public List<AnswerPart> End()
    {
        List<AnswerPart> parts = [];
        while (held.Length > 0 && Step(parts, last: true))
        {
        }
        return parts;
    }

    // Returns whether something was decided, so that more may be.
    bool Step(List<AnswerPart> parts, bool last)
    {
        string all = held.ToString();
        switch (place)
        {
            case Place.Start:
                return Start(all, last);
            case Place.Thought:
                return Until(all, ThinkEnds, last, parts, isReasoning: true, next: Place.Start);
            case Place.Text:
                return Until(all, tools.Count > 0 ? CallBegins : "", last, parts, isReasoning: false, next: Place.Call);
            case Place.Call:
                int end = all.IndexOf(CallEnds, StringComparison.Ordinal);
                if (end < 0 && !last)
                {
                    return false;
                }
                string inside = end < 0 ? all : all[..end];
                if (!TryCalls(inside, parts))
                {
                    parts.Add(new(CallBegins + (end < 0 ? all : all[..(end + CallEnds.Length)])));
                }
                Keep(end < 0 ? "" : all[(end + CallEnds.Length)..].TrimStart());
                place = Place.Text;
                return held.Length > 0;
            default:
                if (!last)
                {
                    return false; // whether it is one is known at its end
                }
                if (!TryCalls(all, parts))
                {
                    parts.Add(new(all));
                }
                held.Clear();
                return false;
        }
    }

    bool Start(string all, bool last)
    {
        string begins = all.TrimStart();
        if (begins.Length == 0 && !last)
        {
            return false;
        }
        foreach ((string marker, Place next) in ((string, Place)[])[(ThinkBegins, Place.Thought), .. tools.Count == 0 ? [] :
            ((string, Place)[])[(CallBegins, Place.Call), ("{", Place.Json), ("[", Place.Json), .. markers.Select(marker => (marker, Place.Json))]])
        {
            if (begins.StartsWith(marker, StringComparison.Ordinal))
            {
                place = next;
                Keep(next is Place.Json ? all : begins[marker.Length..].TrimStart('\n'));
                return true;
            }
            if (!last && marker.StartsWith(begins, StringComparison.Ordinal))
            {
                return false; // it may become one
            }
        }
        place = Place.Text;
        return true;
    }

    // Text goes out up to a marker, and what may become one stays.
    bool Until(string all, string marker, bool last, List<AnswerPart> parts, bool isReasoning, Place next)
    {
        int at = marker.Length == 0 ? -1 : all.IndexOf(marker, StringComparison.Ordinal);
        int certain = at >= 0 ? at : last ? all.Length : all.Length - Opening(all, marker);
        if (certain > 0)
        {
            parts.Add(new(all[..certain], isReasoning));
        }
        Keep(at >= 0 ? all[(at + marker.Length)..] : all[certain..]);
        if (at >= 0)
        {
            place = next;
            if (isReasoning)
            {
                Keep(held.ToString().TrimStart('\n'));
            }
        }
        return at >= 0;
    }

    static int Opening(string text, string marker)
    {
        for (int length = Math.Min(marker.Length - 1, text.Length); length > 0; length--)
        {
            if (text.AsSpan(text.Length - length).SequenceEqual(marker.AsSpan(0, length)))
            {
                return length;
            }
        }
        return 0;
    }

    void Keep(string text) => held.Clear().Append(text);

    // One object or a list of them, all of tools that there are.
    bool TryCalls(string text, List<AnswerPart> parts)
    {
        string json = text.Trim();
        foreach (string marker in markers)
        {
            if (json.StartsWith(marker, StringComparison.Ordinal))
            {
                json = json[marker.Length..].Trim();
                json = json.EndsWith("```", StringComparison.Ordinal) ? json[..^3].Trim() : json;
                break;
            }
        }
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new() { MaxDepth = 32 });
            JsonElement root = document.RootElement;
            List<AnswerPart> calls = [];
            foreach (JsonElement call in root.ValueKind == JsonValueKind.Array ? [.. root.EnumerateArray()] : new[] { root })
            {
                if (!TryCall(call, out AnswerPart part))
                {
                    return false;
                }
                calls.Add(part);
            }
            parts.AddRange(calls);
            Calls += calls.Count;
            return calls.Count > 0;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    bool TryCall(JsonElement call, out AnswerPart part)
    {
        part = default;
        if (call.ValueKind != JsonValueKind.Object)
        {
            return false;
        }
        JsonElement inner = call.TryGetProperty("function", out JsonElement function) && function.ValueKind == JsonValueKind.Object ? function : call;
        if (!inner.TryGetProperty("name", out JsonElement name) || name.ValueKind != JsonValueKind.String || !tools.Contains(name.GetString()!))
        {
            return false;
        }
        string arguments = "{}";
        if (inner.TryGetProperty("arguments", out JsonElement given) || inner.TryGetProperty("parameters", out given))
        {
            if (given.ValueKind is not (JsonValueKind.Object or JsonValueKind.String or JsonValueKind.Null))
            {
                return false;
            }
            arguments = given.ValueKind switch
            {
                JsonValueKind.Object => given.GetRawText(),
                JsonValueKind.String => given.GetString()!,
                _ => "{}",
            };
        }
        part = new("", Call: name.GetString(), Arguments: arguments);
        return true;
    }
}
