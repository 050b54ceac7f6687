// Text to tokens and back over HTTP, and rendered templates.
using System.Text.Json;
using KvCuda.Tests.Extensions;
using KvCuda.Text;

namespace KvCuda.Tests.Server;

public sealed class TokenEndpointTests(ChatModel model) : IClassFixture<ChatModel>
{
    [Fact]
    public async Task Tokens_are_those_of_the_tokenizer_and_come_back_as_their_text()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        const string text = "Call me Ishmael, \u00e9\u65e5.";
        IReadOnlyList<int> expected = model.Engine.Tokenizer!.EncodeToIds(text, SpecialTokens.ParseAndAdd);
        JsonElement answer = await served.AskAsync("/tokenize", JsonSerializer.Serialize(new { prompt = text }));
        Assert.Equal(expected, answer.GetProperty("tokens").EnumerateArray().Select(token => token.GetInt32()));
        Assert.Equal(expected.Count, answer.GetProperty("count").GetInt32());
        JsonElement back = await served.AskAsync("/detokenize", $$"""{"tokens":[{{string.Join(',', expected)}}]}""");
        Assert.Equal((text, text), (back.GetProperty("content").GetString(), back.GetProperty("prompt").GetString()));

        JsonElement pieces = (await served.AskAsync("/tokenize", JsonSerializer.Serialize(new { content = text, with_pieces = true }))).GetProperty("tokens");
        byte[] all = [.. pieces.EnumerateArray().SelectMany(token => token.GetProperty("piece") is { ValueKind: JsonValueKind.String } piece
            ? System.Text.Encoding.UTF8.GetBytes(piece.GetString()!) : [.. token.GetProperty("piece").EnumerateArray().Select(b => b.GetByte())])];
        Assert.Equal(text, System.Text.Encoding.UTF8.GetString(all));
        foreach ((string path, string body, string parameter) in ((string, string, string)[])
            [("/tokenize", "{}", "prompt"), ("/detokenize", "{}", "tokens"), ("/tokenize", """{"prompt":"x","nothing":1}""", "nothing"), ("/detokenize", """{"tokens":[1.5]}""", "tokens[0]")])
        {
            (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(path, body));
            Assert.Equal((400, parameter), (status, error.GetProperty("param").GetString()));
        }
    }

    [Fact]
    public async Task A_template_is_applied_as_a_chat_would()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        JsonElement answer = await served.AskAsync("/apply-template", """{"messages":[{"role":"user","content":"Call me"}]}""");
        Assert.Equal(model.Engine.LoadChatFormat()!.Render([new("user", "Call me")]), answer.GetProperty("prompt").GetString());
    }
}
