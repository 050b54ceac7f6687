// What `kvcuda inspect` says about tokens: what begins and ends a text, chat templates, fields that nothing read.
using System.Text.Json;
using KvCuda.Text;
using KvCuda.Text.Files;

namespace KvCuda.Cli;

/// <summary>The part of `kvcuda inspect` that speaks of text.</summary>
internal static class InspectTokens
{
    public static void Write(Action<string, string> line, ModelFindings found)
    {
        if (found.Tokenizer is HuggingFaceTokenizer tokenizer)
        {
            string around = string.Join(" ", tokenizer.Around.Before.Append(-1).Concat(tokenizer.Around.After)
                .Select(id => id < 0 ? "text" : Spelled(id, tokenizer.IdToToken(id))));
            line("", $"{Figures.Whole(tokenizer.VocabularySize)} ids; a text is encoded as: {around}");
        }
        line("ends", found.Ends.Count == 0 && found.Tokens?.StopTexts is not { Count: > 0 }
            ? "nothing: no file names an end token, so a text runs to its limit"
            : string.Join("; ", found.Ends.Select(end => $"{Spelled(end.Id, end.Token)} ({end.From})")
                .Concat((found.Tokens?.StopTexts ?? []).Select(text => $"the text {JsonSerializer.Serialize(text)} (stop_strings)"))));
        foreach (EndToken beyond in found.Ends.Where(end => found.Config is { } config && end.Id >= config.Vocabulary))
        {
            line("", $"{beyond.Id} can never come: the model has {Figures.Whole(found.Config!.Vocabulary)} ids");
        }
        if (found.Templates.Count > 0)
        {
            line("chat", string.Join(", ", found.Templates.Select(template => template.Name)));
            foreach ((string name, string? problem) in found.Templates.Where(template => template.Problem is not null))
            {
                line("", $"{name} cannot be used: {problem}");
            }
        }
        else if (found.TokenizerFiles.Count > 0)
        {
            line("chat", "no chat template");
        }
        if (found.Tokens is { Suggestions.Count: > 0 } tokens)
        {
            line("suggests", string.Join(", ", tokens.Suggestions) + " (not applied; ask for it with the call)");
        }
        string[] unread = Unread(found);
        if (unread.Length > 0)
        {
            line("not read", string.Join(", ", unread));
        }
    }

    public static void Write(Utf8JsonWriter json, ModelFindings found)
    {
        json.WriteStartArray("eos_tokens");
        foreach (EndToken end in found.Ends)
        {
            json.WriteNumberValue(end.Id);
        }
        json.WriteEndArray();
        json.WriteStartArray("ends");
        foreach (EndToken end in found.Ends)
        {
            json.WriteStartObject();
            json.WriteNumber("id", end.Id);
            json.WriteString("token", end.Token);
            json.WriteString("from", end.From);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        Strings("stop_texts", found.Tokens?.StopTexts ?? []);
        Strings("chat_templates", found.Templates.Where(template => template.Problem is null).Select(template => template.Name));
        Strings("not_read", Unread(found));

        void Strings(string name, IEnumerable<string> values)
        {
            json.WriteStartArray(name);
            foreach (string value in values)
            {
                json.WriteStringValue(value);
            }
            json.WriteEndArray();
        }
    }

    static string[] Unread(ModelFindings found) =>
        [.. (found.Config?.UnreadFields ?? []).Select(name => $"config.json: {name}"), .. found.Tokens?.Unread ?? []];

    static string Spelled(int id, string? token) => token is null ? $"{id}" : $"{id} {token}";
}
