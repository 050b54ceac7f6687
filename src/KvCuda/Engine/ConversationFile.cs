using System.Text.Encodings.Web;
using System.Text.Json;
using KvCuda.Text;

namespace KvCuda.Engine;

/// <summary>
/// A conversation as a file: <c>{"messages": [{"role": "user", "content": "Hello"}, ..], "text": "..", "tokens": [..]}</c>. The last two
/// say which text the tokens in the snapshot beside it spell, where that is known.
/// </summary>
/// <param name="Messages">in order</param>
/// <param name="Text">what the tokens spell; null: not known</param>
/// <param name="Tokens">those of the snapshot</param>
sealed record ConversationFile(IReadOnlyList<ChatMessage> Messages, string? Text, IReadOnlyList<int> Tokens)
{
    const long MaxBytes = 64 << 20;

    /// <summary>Where the keys and values of a conversation lie.</summary>
    public static string KeysBeside(string path) => path + ".kv";

    /// <summary>Deletes them, if they are there.</summary>
    public static void DeleteKeysBeside(string path)
    {
        try
        {
            File.Delete(KeysBeside(path));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InvalidRequestException($"{KeysBeside(path)} is not this conversation's, and cannot be deleted: {error.Message}", error);
        }
    }

    /// <summary>Writes the file in one step, or leaves the one that is there as it is.</summary>
    public void Write(string path)
    {
        string beside = $"{path}.{Guid.NewGuid():N}.partial";
        try
        {
            using (FileStream file = new(beside, FileMode.CreateNew, FileAccess.Write))
            using (Utf8JsonWriter json = new(file, new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            {
                json.WriteStartObject();
                json.WriteStartArray("messages");
                foreach (ChatMessage message in Messages)
                {
                    json.WriteStartObject();
                    json.WriteString("role", message.Role);
                    json.WriteString("content", message.Content);
                    json.WriteEndObject();
                }
                json.WriteEndArray();
                if (Text is not null)
                {
                    json.WriteString("text", Text);
                    json.WriteStartArray("tokens");
                    foreach (int token in Tokens)
                    {
                        json.WriteNumberValue(token);
                    }
                    json.WriteEndArray();
                }
                json.WriteEndObject();
            }
            File.Move(beside, path, overwrite: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(beside))
            {
                File.Delete(beside);
            }
            throw new InvalidRequestException($"The conversation could not be written to {path}: {error.Message}", error);
        }
    }

    /// <summary>Reads the file.</summary>
    /// <exception cref="InvalidRequestException">It cannot be read, or is no conversation.</exception>
    public static ConversationFile Read(string path)
    {
        try
        {
            FileInfo file = new(path);
            if (file.Exists && file.Length > MaxBytes)
            {
                throw Wrong($"it has {file.Length} bytes, a conversation at most {MaxBytes}");
            }
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path), new() { MaxDepth = 8 });
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("messages"u8, out JsonElement list) || list.ValueKind != JsonValueKind.Array)
            {
                throw Wrong("it has no list \"messages\"");
            }
            List<int> tokens = [];
            if (root.TryGetProperty("tokens"u8, out JsonElement ids))
            {
                foreach (JsonElement id in ids.ValueKind == JsonValueKind.Array ? ids.EnumerateArray() : throw Wrong("its \"tokens\" are no list"))
                {
                    tokens.Add(id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out int token) ? token : throw Wrong("one of its \"tokens\" is no id"));
                }
            }
            return new([.. list.EnumerateArray().Select(entry => new ChatMessage(String(entry, "role"), String(entry, "content")))],
                root.TryGetProperty("text"u8, out _) ? String(root, "text") : null, tokens);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new InvalidRequestException($"The conversation {path} cannot be read: {error.Message}", error);
        }

        string String(JsonElement entry, string name) =>
            entry.ValueKind == JsonValueKind.Object && entry.TryGetProperty(name, out JsonElement value)
            && value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Wrong($"it, or a message in it, has no text \"{name}\"");

        InvalidRequestException Wrong(string why) => new($"The conversation {path} cannot be read: {why}.");
    }
}
