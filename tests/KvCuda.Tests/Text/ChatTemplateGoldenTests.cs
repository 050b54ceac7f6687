using System.Text.Json;
using KvCuda.Text;

namespace KvCuda.Tests.Text;

/// <summary>What templates write equals what Jinja 2 writes, set up as Hugging Face's library sets it up.</summary>
public class ChatTemplateGoldenTests
{
    sealed class FixedClock : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

        public override DateTimeOffset GetUtcNow() => new(2024, 7, 4, 9, 5, 7, TimeSpan.Zero);
    }

    static readonly JsonDocument Goldens = Read("templates.json");

    static JsonDocument Read(string name) => JsonDocument.Parse(File.ReadAllBytes(Path.Combine(TextGolden.Folder, name)));

    [Fact]
    public void Snippets_render_as_in_jinja_2()
    {
        Dictionary<string, object?> variables = Read("snippet-variables.json").RootElement.EnumerateObject()
            .ToDictionary(p => p.Name, p => (object?)p.Value);
        foreach (JsonElement snippet in Goldens.RootElement.GetProperty("snippets").EnumerateArray())
        {
            string template = snippet[0].GetString()!;
            Assert.Equal((template, snippet[1].GetString()), (template, Render(template, variables)));
        }
    }

    [Fact]
    public void Conversations_render_as_in_jinja_2()
    {
        JsonElement conversations = Read("conversations.json").RootElement;
        foreach (JsonElement chat in Goldens.RootElement.GetProperty("chats").EnumerateArray())
        {
            string name = chat[0].GetString()!, conversation = chat[1].GetString()!;
            Dictionary<string, object?> variables = conversations.GetProperty(conversation).EnumerateObject()
                .ToDictionary(p => p.Name, p => (object?)p.Value);
            string? text = Render(File.ReadAllText(Path.Combine(TextGolden.Folder, name)), variables);
            Assert.Equal((name, conversation, chat[2].GetString()), (name, conversation, text));
        }
    }

    // Null where it is an error, which must be one of ours and name its line.
    static string? Render(string template, Dictionary<string, object?> variables)
    {
        try
        {
            return new ChatTemplate(template).Render(variables, new FixedClock());
        }
        catch (KvCudaException e)
        {
            Assert.Contains("line ", e.Message, StringComparison.Ordinal);
            return null;
        }
    }
}
