// Tools: told to the model by its template, calls understood as each family writes them, over C# and over HTTP with OpenAI's own client.
using System.ClientModel;
using System.Text.Json;
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Tests.Server;
using KvCuda.Tests.Weights;
using KvCuda.Text;
using Microsoft.Extensions.AI;
using OpenAI;
using OpenAI.Chat;
using Message = Microsoft.Extensions.AI.ChatMessage;

namespace KvCuda.Tests.Extensions;

public sealed class ToolTests : IDisposable
{
    const string Template = """
        {% if tools %}Tools: {% for t in tools %}{{ t.function.name }}({{ t.function.parameters | tojson }}) {% endfor %}
        {% endif %}{% for m in messages %}<{{ m.role }}> {{ m.content }}{% for c in m.tool_calls or [] %}CALL {{ c.function.name }} {{ c.function.arguments.city }}{% endfor %}
        {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}
        """;

    const string Call = """<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call><end>""";

    static readonly string[] names = ["weather", "f"];

    readonly TemporaryFolder folder = new();

    public ToolTests()
    {
        foreach (string file in Directory.GetFiles(Repository.Demo))
        {
            File.Copy(file, folder[Path.GetFileName(file)]);
        }
        folder.Write("chat_template.jinja", Template);
    }

    public void Dispose() => folder.Dispose();

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("""<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>""", """f{"a":1}""")]
    [InlineData("""I look. <tool_call>{"name":"f","arguments":{"a":1}}</tool_call> <tool_call>{"name":"weather","arguments":{}}</tool_call>""", "\"I look. \"f{\"a\":1}weather{}")]
    [InlineData("""{"name":"f","parameters":{"a":[1,2]}}""", """f{"a":[1,2]}""")]
    [InlineData("""<|python_tag|>{"name":"f","parameters":{}}""", "f{}")]
    [InlineData("""[TOOL_CALLS][{"name":"f","arguments":{"a":"}"}},{"name":"weather","arguments":{}}]""", """f{"a":"}"}weather{}""")]
    [InlineData("""[{"name":"f","arguments":{"a":1}}]""", """f{"a":1}""")]
    [InlineData("""<|tool_call|>[{"name":"f","arguments":{"a":1}}]""", """f{"a":1}""")]
    [InlineData("<tool_call>[{\"name\":\"f\",\"arguments\":{\"a\":1}}]", """f{"a":1}""")]
    [InlineData("```json\n{\"name\":\"f\",\"parameters\":{\"a\":1}}\n```", """f{"a":1}""")]
    [InlineData("""<think>who knows</think>{"name":"f","parameters":{}}""", "(who knows)f{}")]
    [InlineData("<think>\nhm\n</think>\n\nYes.", "(hm\n)\"Yes.\"")]
    [InlineData("""{"name":"unknown","parameters":{}}""", "\"{\"name\":\"unknown\",\"parameters\":{}}\"")]
    [InlineData("""{"answer":42}""", "\"{\"answer\":42}\"")]
    [InlineData("""<tool_call>{"name":"f","arg""", "\"<tool_call>{\"name\":\"f\",\"arg\"")]
    [InlineData("a < b, and <tool> too", "\"a < b, and <tool> too\"")]
    [InlineData("[1] is a note", "\"[1] is a note\"")]
    public void A_call_is_understood_as_its_family_writes_it_however_its_text_comes(string said, string expected)
    {
        for (int size = 1; size <= said.Length; size += size < 4 ? 1 : said.Length)
        {
            AnswerParser parser = new(names.ToHashSet());
            List<AnswerPart> parts = [];
            for (int at = 0; at < said.Length; at += size)
            {
                parts.AddRange(parser.Add(said.Substring(at, Math.Min(size, said.Length - at))));
            }
            parts.AddRange(parser.End());
            string told = "", text = "", thought = "";
            foreach (AnswerPart part in parts)
            {
                if (part.Call is null && !part.IsReasoning)
                {
                    text += part.Text;
                    continue;
                }
                thought += part.IsReasoning ? part.Text : "";
                Flush();
                told += part.Call is null ? "" : part.Call + part.Arguments;
            }
            Flush();
            told = (thought.Length > 0 ? $"({thought.TrimStart('\n')})" : "") + told;
            Assert.Equal(expected.Replace("\n\n", "", StringComparison.Ordinal), told.Replace("\"\n", "\"", StringComparison.Ordinal));

            void Flush()
            {
                told += text.Trim('\n').Trim(' ').Length == 0 ? "" : $"\"{text.TrimStart('\n')}\"";
                text = "";
            }
        }
    }

    [Fact]
    public void Without_tools_nothing_is_a_call()
    {
        AnswerParser parser = new(new HashSet<string>());
        Assert.Equal([new AnswerPart("""{"name":"f"}""")], [.. parser.Add("""{"name":"f"}"""), .. parser.End()]);
    }

    static string Answer(string prompt) => prompt.Contains("<tool>", StringComparison.Ordinal)
        ? $"It is {(prompt.Contains("CALL weather Oslo", StringComparison.Ordinal) && prompt.Contains("snow", StringComparison.Ordinal) ? "snowing" : "unclear")}.<end>"
        : prompt.StartsWith("Tools: weather(", StringComparison.Ordinal) ? Call : "I have no tools.<end>";

    [Fact]
    public async Task Function_invocation_goes_round_and_the_answer_comes_after_it()
    {
        await using KvEngine engine = await KvEngine.LoadAsync(folder.ToString(), ChatModel.Small with { Tokenizer = new ScriptedTokenizer(Answer) }, cancellation: Cancellation);
        List<string> asked = [];
        AIFunction weather = AIFunctionFactory.Create((string city) => { asked.Add(city); return "snow"; }, "weather", "What the weather is like.");
        using IChatClient chat = engine.AsChatClient(new() { Generate = new() { Stop = ["<end>"], MaxTokens = 90 } }).AsBuilder().UseFunctionInvocation().Build();
        ChatResponse response = await chat.GetResponseAsync("What is it like in Oslo?", new() { Tools = [weather] }, Cancellation);
        Assert.Equal("It is snowing.", response.Text);
        Assert.Equal(["Oslo"], asked);
        asked.Clear();
        ChatResponse streamed = await chat.GetStreamingResponseAsync("What is it like in Oslo?", new() { Tools = [weather] }, Cancellation).ToChatResponseAsync(Cancellation);
        Assert.Equal("It is snowing.", streamed.Text);
        Assert.Equal(["Oslo"], asked);
        Assert.Equal("I have no tools.", (await chat.GetResponseAsync("And now?", new() { Tools = [weather], ToolMode = ChatToolMode.None }, Cancellation)).Text);
    }

    [Fact]
    public async Task OpenAI_s_own_client_calls_tools_whole_and_streamed()
    {
        await using Served served = await Served.StartAsync(folder.ToString(), options => options with { Engine = ChatModel.Small with { Tokenizer = new ScriptedTokenizer(Answer) } });
        ChatClient client = new("demo", new ApiKeyCredential("not-asked-for"), new OpenAIClientOptions { Endpoint = new(served.Server.Address, "/v1") });
        ChatCompletionOptions options = new() { MaxOutputTokenCount = 90, StopSequences = { "<end>" } };
        options.Tools.Add(ChatTool.CreateFunctionTool("weather", "What the weather is like.", BinaryData.FromString("""{"type":"object","properties":{"city":{"type":"string"}}}""")));
        List<OpenAI.Chat.ChatMessage> messages = [new UserChatMessage("What is it like in Oslo?")];
        ChatCompletion first = await client.CompleteChatAsync(messages, options, Cancellation);
        Assert.Equal(OpenAI.Chat.ChatFinishReason.ToolCalls, first.FinishReason);
        ChatToolCall call = Assert.Single(first.ToolCalls);
        Assert.Equal(("weather", "Oslo"), (call.FunctionName, JsonElement.Parse(call.FunctionArguments.ToString()).GetProperty("city").GetString()));
        messages.Add(new AssistantChatMessage(first));
        messages.Add(new ToolChatMessage(call.Id, "snow"));
        Assert.Equal("It is snowing.", (await client.CompleteChatAsync(messages, options, Cancellation)).Value.Content[0].Text);

        string name = "", arguments = "";
        OpenAI.Chat.ChatFinishReason? reason = null;
        await foreach (StreamingChatCompletionUpdate update in client.CompleteChatStreamingAsync([messages[0]], options, Cancellation))
        {
            foreach (StreamingChatToolCallUpdate part in update.ToolCallUpdates)
            {
                name += part.FunctionName;
                arguments += part.FunctionArgumentsUpdate;
            }
            Assert.DoesNotContain(update.ContentUpdate, part => part.Text?.Length > 0);
            reason = update.FinishReason ?? reason;
        }
        Assert.Equal(("weather", """{"city": "Oslo"}""", OpenAI.Chat.ChatFinishReason.ToolCalls), (name, arguments, reason));
    }

    [Fact]
    public async Task Thoughts_are_told_apart_from_what_is_said()
    {
        await using Served served = await Served.StartAsync(folder.ToString(), options => options with
        {
            Engine = ChatModel.Small with { Tokenizer = new ScriptedTokenizer(_ => "<think>It is a whale.</think>A whale.<end>") },
        });
        const string asked = """{"messages":[{"role":"user","content":"What is it?"}],"max_tokens":60,"stop":"<end>" """;
        JsonElement message = (await served.AskAsync("/v1/chat/completions", asked + "}")).GetProperty("choices")[0].GetProperty("message");
        Assert.Equal(("It is a whale.", "A whale."), (message.GetProperty("reasoning_content").GetString(), message.GetProperty("content").GetString()));
        List<JsonElement> deltas = [.. (await served.StreamAsync("/v1/chat/completions", asked + ""","stream":true}""")).Select(chunk => chunk.GetProperty("choices")[0].GetProperty("delta"))];
        Assert.Equal("It is a whale.", string.Concat(deltas.Select(delta => delta.TryGetProperty("reasoning_content", out JsonElement text) ? text.GetString() : "")));
        Assert.Equal("A whale.", string.Concat(deltas.Select(delta => delta.TryGetProperty("content", out JsonElement text) ? text.GetString() : "")));
    }

    [Fact]
    public async Task Tools_that_a_template_does_not_tell_of_are_refused()
    {
        folder.Write("chat_template.jinja", ChatModel.Template);
        await using Served served = await Served.StartAsync(folder.ToString());
        (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync("/v1/chat/completions",
            """{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}"""));
        Assert.Equal((400, "tools"), (status, error.GetProperty("param").GetString()));
    }
}
