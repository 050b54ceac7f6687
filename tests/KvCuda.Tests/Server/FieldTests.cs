// Nothing that a request asks for is dropped in silence: it takes effect, or an error names it.
using System.Text.Json;
using System.Text.Json.Nodes;
using KvCuda.Engine;
using KvCuda.Tests.Extensions;
using KvCuda.Tests.Weights;

namespace KvCuda.Tests.Server;

public sealed class FieldTests(ChatModel model) : IClassFixture<ChatModel>, IAsyncLifetime
{
    const string Text = "/v1/completions", Chat = "/v1/chat/completions";

    Served served = null!;

    public async ValueTask InitializeAsync() => served = await Served.StartAsync(model.Folder);

    public ValueTask DisposeAsync() => served.DisposeAsync();

    static string Said(JsonElement answer) => answer.GetProperty("choices")[0].GetProperty("text").GetString()!;

    async Task<string> Said(string fields) => Said(await served.AskAsync(Text, $$"""{"prompt":"Call me","max_tokens":12{{fields}}}"""));

    [Theory]
    [InlineData("\"top_k\":1,\"temperature\":1.9,\"seed\":3", "\"kvcuda\":{\"top_k\":1},\"temperature\":1.9,\"seed\":3")]
    [InlineData("\"min_p\":0.9,\"temperature\":1.9,\"seed\":3", "\"kvcuda\":{\"min_p\":0.9},\"temperature\":1.9,\"seed\":3")]
    [InlineData("\"repetition_penalty\":3.0", "\"kvcuda\":{\"repetition_penalty\":3.0}")]
    [InlineData("\"repeat_penalty\":3.0", "\"kvcuda\":{\"repetition_penalty\":3.0}")]
    public async Task What_other_servers_have_at_the_top_level_is_what_the_engine_has_of_its_own(string theirs, string ours)
    {
        string plain = ours.Replace("\"kvcuda\"", "\"metadata\"", StringComparison.Ordinal);
        Assert.Equal(await Said("," + ours), await Said("," + theirs));
        Assert.NotEqual(await Said("," + plain), await Said("," + theirs));
    }

    [Fact]
    public async Task A_cache_salt_at_the_top_level_separates_tenants_and_no_cache_prompt_finds_nothing()
    {
        const string prompt = "And it came to pass in those days, that there went out a decree from the king, that all the people should be numbered.";
        Assert.Equal(0, await Cached(",\"cache_salt\":\"one\""));
        Assert.True(await Cached(",\"cache_salt\":\"one\",\"priority\":80") >= 16);
        Assert.True(await Cached(",\"kvcuda\":{\"salt\":\"one\"}") >= 16);
        Assert.Equal(0, await Cached(",\"cache_salt\":\"two\""));
        Assert.Equal(0, await Cached(",\"cache_salt\":\"one\",\"cache_prompt\":false"));

        async Task<int> Cached(string fields) => (await served.AskAsync(Text, $$"""{"prompt":"{{prompt}}","max_tokens":2{{fields}}}"""))
            .GetProperty("usage").GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32();
    }

    [Fact]
    public async Task Token_ids_to_stop_at_end_the_text_before_them_also_without_an_end_of_text()
    {
        List<int> tokens = [];
        await foreach (GeneratedPiece piece in model.Engine.GenerateAsync("Call me", new() { MaxTokens = 12, IgnoreEos = true }, TestContext.Current.CancellationToken))
        {
            tokens = piece.Result is { } result ? [.. result.Tokens] : tokens;
        }
        int at = Enumerable.Range(3, 9).First(i => tokens.IndexOf(tokens[i]) == i);
        JsonElement answer = await served.AskAsync(Text, $$"""{"prompt":"Call me","max_tokens":12,"ignore_eos":true,"stop_token_ids":[{{tokens[at]}}]}""");
        Assert.Equal(model.Engine.Tokenizer!.Decode(tokens.Take(at)), Said(answer));
        Assert.Equal("stop", answer.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(at, answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
    }

    [Fact]
    public async Task A_stop_text_that_is_a_special_token_stops_and_is_spelled_by_its_name_in_log_probabilities()
    {
        GenerationResult plain = await model.Engine.CompleteAsync("Call me", new() { MaxTokens = 12 }, TestContext.Current.CancellationToken);
        int special = Enumerable.Range(3, 9).First(i => plain.Tokens.ToList().IndexOf(plain.Tokens[i]) == i);
        string name = ((KvCuda.Text.HuggingFaceTokenizer)model.Engine.Tokenizer!).IdToToken(plain.Tokens[special])!;
        using TemporaryFolder folder = Changed(tokenizer => tokenizer["added_tokens"]!.AsArray().Add(new JsonObject
        {
            ["id"] = plain.Tokens[special], ["content"] = name, ["single_word"] = false, ["lstrip"] = false, ["rstrip"] = false, ["normalized"] = false, ["special"] = true,
        }));
        await using Served other = await Served.StartAsync(folder.ToString());
        string stop = JsonSerializer.Serialize(name);
        JsonElement ended = await other.AskAsync(Text, $$"""{"prompt":"Call me","max_tokens":12,"stop":[{{stop}}]}""");
        Assert.Equal(special, ended.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        Assert.Equal("stop", ended.GetProperty("choices")[0].GetProperty("finish_reason").GetString());

        JsonElement spelled = (await other.AskAsync(Text, """{"prompt":"Call me","max_tokens":12,"logprobs":2}""")).GetProperty("choices")[0].GetProperty("logprobs");
        Assert.Equal(name, spelled.GetProperty("tokens")[special].GetString());
        Assert.True(spelled.GetProperty("top_logprobs")[special].TryGetProperty(name, out _));
        // It is no part of the text, so that what comes after it begins where it did.
        Assert.Equal(spelled.GetProperty("text_offset")[special].GetInt32(), spelled.GetProperty("text_offset")[special + 1].GetInt32());
    }

    [Fact]
    public async Task A_special_token_in_a_prompt_is_that_token_unless_its_letters_are_asked_for()
    {
        Assert.Equal(1, await Count(""));
        Assert.True(await Count(",\"kvcuda\":{\"parse_special\":false}") > 3);

        async Task<int> Count(string fields) => (await served.AskAsync(Text, $$"""{"prompt":"<|endoftext|>","max_tokens":1{{fields}}}"""))
            .GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
    }

    [Fact]
    public async Task A_text_goes_on_where_its_prompt_ends_whatever_its_tokenizer_does_at_the_beginning_of_texts()
    {
        using TemporaryFolder folder = Changed(tokenizer => tokenizer["decoder"] = new JsonObject
        {
            ["type"] = "Sequence",
            ["decoders"] = new JsonArray(tokenizer["decoder"]!.DeepClone(), new JsonObject { ["type"] = "Fuse" },
                new JsonObject { ["type"] = "Strip", ["content"] = " ", ["start"] = 1, ["stop"] = 0 }),
        });
        await using Served other = await Served.StartAsync(folder.ToString());
        string expected = Said(await served.AskAsync(Text, """{"prompt":"And the","max_tokens":12}"""));
        Assert.StartsWith(" ", expected, StringComparison.Ordinal); // or this would prove nothing
        JsonElement answer = await other.AskAsync(Text, """{"prompt":"And the","max_tokens":12,"logprobs":0}""");
        Assert.Equal(expected, Said(answer));
        Assert.Equal(expected, string.Concat(answer.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("tokens").EnumerateArray().Select(token => token.GetString())));
        Assert.Equal(expected, string.Concat((await other.StreamAsync(Text, """{"prompt":"And the","max_tokens":12,"stream":true}""")).Select(Said)));
    }

    TemporaryFolder Changed(Action<JsonObject> change)
    {
        TemporaryFolder folder = new();
        foreach (string file in Directory.GetFiles(model.Folder))
        {
            File.Copy(file, folder[Path.GetFileName(file)]);
        }
        JsonObject tokenizer = JsonNode.Parse(File.ReadAllText(folder["tokenizer.json"]))!.AsObject();
        change(tokenizer);
        folder.Write("tokenizer.json", tokenizer.ToJsonString());
        return folder;
    }

    [Fact]
    public async Task The_chosen_token_is_always_among_the_likeliest_and_every_entry_is_told_with_its_bytes()
    {
        int outside = 0;
        for (int seed = 0; seed < 6; seed++)
        {
            string asked = $$""","temperature":2,"seed":{{seed}}""";
            JsonElement columns = (await served.AskAsync(Text, $$"""{"prompt":"Call me","max_tokens":20,"logprobs":1{{asked}}}""")).GetProperty("choices")[0].GetProperty("logprobs");
            for (int i = 0; i < columns.GetProperty("tokens").GetArrayLength(); i++)
            {
                JsonElement top = columns.GetProperty("top_logprobs")[i];
                outside += top.EnumerateObject().Count() - 1;
                Assert.Equal(columns.GetProperty("token_logprobs")[i].GetSingle(), top.GetProperty(columns.GetProperty("tokens")[i].GetString()!).GetSingle());
            }
            JsonElement chat = await served.AskAsync(Chat, $$"""{"messages":[{"role":"user","content":"Call me"}],"max_tokens":20,"logprobs":true,"top_logprobs":20{{asked}}}""");
            foreach (JsonElement token in chat.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content").EnumerateArray())
            {
                Assert.Equal(20, token.GetProperty("top_logprobs").GetArrayLength());
                foreach (JsonElement entry in token.GetProperty("top_logprobs").EnumerateArray().Append(token))
                {
                    byte[] bytes = [.. entry.GetProperty("bytes").EnumerateArray().Select(b => b.GetByte())];
                    Assert.NotEmpty(bytes);
                    Assert.Equal(entry.GetProperty("token").GetString(), System.Text.Encoding.UTF8.GetString(bytes));
                }
            }
        }
        Assert.True(outside > 0, "no token was drawn from outside the likeliest, so this proves nothing");
    }

    [Fact]
    public async Task Seed_minus_one_means_any_and_the_seed_that_is_told_can_be_sent_back()
    {
        const string asked = ""","temperature":1.9,"seed":""";
        JsonElement first = await served.AskAsync(Text, $$"""{"prompt":"Call me","max_tokens":12{{asked}}-1}"""), second = await served.AskAsync(Text, $$"""{"prompt":"Call me","max_tokens":12{{asked}}-1}""");
        Assert.NotEqual(Seed(first), Seed(second));
        Assert.Equal(Said(first), await Said($"{asked}{Seed(first)}"));
        JsonElement negative = await served.AskAsync(Text, $$"""{"prompt":"Call me","max_tokens":12{{asked}}-7}""");
        Assert.Equal(-7, Seed(negative));
        Assert.Equal(Said(negative), await Said($"{asked}{Seed(negative)}"));

        static long Seed(JsonElement answer) => answer.GetProperty("kvcuda").GetProperty("seed").GetInt64();
    }

    [Fact]
    public async Task A_final_message_can_be_gone_on_with_and_no_answer_be_begun()
    {
        KvCuda.Text.ChatFormat format = model.Engine.LoadChatFormat()!;
        const string messages = """[{"role":"user","content":"Call me"},{"role":"assistant","content":"Ishmael, who "}]""";
        string expected = (await model.Engine.CompleteAsync("<user> Call me\n<assistant> Ishmael, who ", new() { MaxTokens = 8 }, TestContext.Current.CancellationToken)).Text;
        JsonElement answer = await served.AskAsync(Chat, $$"""{"messages":{{messages}},"max_tokens":8,"continue_final_message":true}""");
        Assert.Equal(expected, answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
        Assert.Equal(format.Encode("<user> Call me\n<assistant> Ishmael, who ").Count, answer.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
        JsonElement without = await served.AskAsync(Chat, $$"""{"messages":{{messages}},"max_tokens":8,"add_generation_prompt":false}""");
        Assert.Equal(format.Encode("<user> Call me\n<assistant> Ishmael, who \n").Count, without.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
        foreach ((string asked, string? parameter) in ((string, string?)[])
        [
            ("""{"messages":[{"role":"user","content":"Call me"}],"continue_final_message":true}""", null),
            ($$"""{"messages":{{messages}},"continue_final_message":true,"add_generation_prompt":true}""", "continue_final_message"),
        ])
        {
            (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Chat, asked));
            Assert.Equal((400, parameter), (status, error.GetProperty("param").GetString()));
        }
    }

    [Fact]
    public async Task The_last_tokens_of_a_prompt_are_kept_where_that_is_asked_for()
    {
        string prompt = string.Concat(Enumerable.Repeat("Call me Ishmael. ", 20));
        IReadOnlyList<int> tokens = model.Engine.Tokenizer!.EncodeToIds(prompt);
        JsonElement cut = await served.AskAsync(Text, $$"""{"prompt":"{{prompt}}","max_tokens":8,"truncate_prompt_tokens":7}""");
        Assert.Equal(7, cut.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
        Assert.Equal(Said(await served.AskAsync(Text, $$"""{"prompt":[{{string.Join(',', tokens.TakeLast(7))}}],"max_tokens":8}""")), Said(cut));
    }

    [Theory]
    [InlineData("no_such_thing", "1")]
    [InlineData("grammar", "\"root ::= \\\"a\\\"\"")]
    [InlineData("json_schema", "{}")]
    [InlineData("guided_json", "{\"type\":\"object\"}")]
    [InlineData("structured_outputs", "{\"json\":{}}")]
    [InlineData("use_beam_search", "true")]
    [InlineData("include_stop_str_in_output", "true")]
    [InlineData("skip_special_tokens", "false")]
    [InlineData("bad_words", "[\"x\"]")]
    [InlineData("lora", "[{\"id\":0}]")]
    [InlineData("typical_p", "0.5")]
    [InlineData("mirostat", "2")]
    [InlineData("logits_processors", "[\"x\"]")]
    [InlineData("verbosity", "\"low\"")]
    public async Task What_is_not_done_is_refused_by_name(string field, string value)
    {
        foreach ((string path, string start) in ((string, string)[])[(Text, "\"prompt\":\"x\""), (Chat, "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]")])
        {
            (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(path, $$"""{{{start}},"{{field}}":{{value}}}"""));
            Assert.Equal((400, field), (status, error.GetProperty("param").GetString()));
            await served.AskAsync(path, $$"""{{{start}},"max_tokens":1,"{{field}}":null}""");
        }
    }

    [Theory]
    [InlineData("\"top_k\":1,\"kvcuda\":{\"top_k\":2}", "top_k", "another name")]
    [InlineData("\"cache_salt\":\"\"", "cache_salt", "1 to 256")]
    [InlineData("\"priority\":101", "priority", "0 to 100")]
    [InlineData("\"stop_token_ids\":[-1]", "stop_token_ids", "at most 64")]
    [InlineData("\"seed\":1.5", "seed", "whole number")]
    [InlineData("\"max_tokens\":1e10", "max_tokens", "whole number")]
    [InlineData("\"temperature\":\"1\"", "temperature", "a number")]
    [InlineData("\"stream\":\"yes\"", "stream", "true or false")]
    [InlineData("\"kvcuda\":{\"tpo_k\":1}", "kvcuda.tpo_k", "not a parameter")]
    [InlineData("\"seed\":1,\"seed\":2", "seed", "twice")]
    [InlineData("\"stop_token_ids\":3", "stop_token_ids", "a list")]
    [InlineData("\"stream\":true,\"stream_options\":{\"continuous_usage_stats\":true}", "stream_options.continuous_usage_stats", "not a parameter")]
    public async Task What_is_wrong_with_a_field_is_said_of_that_field(string fields, string parameter, string told)
    {
        (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Text, $$"""{"prompt":"x",{{fields}}}"""));
        Assert.Equal((400, parameter), (status, error.GetProperty("param").GetString()));
        Assert.Contains(told, error.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bytes_that_are_no_UTF_8_are_called_that()
    {
        using ByteArrayContent body = new([.. "{\"prompt\":\""u8, 0xFF, 0xFE, .. "\"}"u8]);
        body.Headers.ContentType = new("application/json");
        (int status, JsonElement error) = await Served.ErrorAsync(served.SendAsync(HttpMethod.Post, Text, body));
        Assert.Equal(400, status);
        Assert.Contains("no UTF-8", error.GetProperty("message").GetString(), StringComparison.Ordinal);
    }
}
