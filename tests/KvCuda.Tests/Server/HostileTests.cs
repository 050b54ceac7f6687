using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using KvCuda.Engine;
using KvCuda.Server;
using KvCuda.Tests.Extensions;

namespace KvCuda.Tests.Server;

/// <summary>Bad input, strangers, callers who go away or do not read: one clear error each, and the server goes on.</summary>
public sealed class HostileTests(ChatModel model) : IClassFixture<ChatModel>
{
    const string Chat = "/v1/chat/completions", Text = "/v1/completions", Small = """{"prompt":"Call me","max_tokens":2}""";
    const string Long = """{"prompt":"And it came to pass in those days, that there went out a decree from the king, that all the people should be numbered.","max_tokens":2}""";

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_body_that_is_malformed_is_one_clear_error_and_the_server_goes_on()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        string deep = """{"prompt":"x","other":""" + new string('[', 4000) + new string(']', 4000) + "}";
        foreach ((string body, string? parameter) in ((string, string?)[])
        [
            ("", null), ("{", null), ("[]", null), ("null", null), ("\"x\"", null), ("{} {}", null), (deep, null), ("\uFEFF{", null), ("""{"prompt":"\ud83d"}""", null),
            ("""{"prompt":"x","prompt":"y"}""", "prompt"), ("{}", "prompt"), ("""{"prompt":1}""", "prompt"), ("""{"prompt":[]}""", "prompt"),
            ("""{"prompt":["a","b"]}""", "prompt"), ("""{"prompt":[1.5]}""", "prompt"), ("""{"prompt":[1,2,99999999]}""", null), ("""{"prompt":""}""", null),
            ("""{"prompt":"x","temperature":"hot"}""", "temperature"), ("""{"prompt":"x","temperature":1e999}""", "temperature"), ("""{"prompt":"x","temperature":-1}""", "temperature"),
            ("""{"prompt":"x","max_tokens":0}""", "max_tokens"), ("""{"prompt":"x","max_tokens":1e9999}""", "max_tokens"), ("""{"prompt":"x","top_p":0}""", "top_p"),
            ("""{"prompt":"x","stop":[""]}""", "stop"), ("""{"prompt":"x","stop":{}}""", "stop"), ("""{"prompt":"x","logprobs":1000}""", "logprobs"),
            ("""{"prompt":"x","kvcuda":{"tpo_k":1}}""", "kvcuda.tpo_k"), ("""{"prompt":"x","kvcuda":{"ttl":-1}}""", "kvcuda.ttl"), ("""{"prompt":"x","kvcuda":{"window":9}}""", "kvcuda.window"),
            ("""{"prompt":"x","stream_options":{"include_usage":true}}""", "stream_options"),
            ($$"""{"prompt":"{{new string('a', 3000)}}"}""", null), ($$"""{"prompt":"{{new string('a', 1_000_000)}}"}""", null), ($$"""{"prompt":[{{string.Join(',', Enumerable.Repeat(5, 5000))}}]}""", null),
        ])
        {
            (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Text, body));
            Assert.True(status == 400 && error.GetProperty("param").GetString() == parameter, $"{body[..Math.Min(body.Length, 80)]} => {status} {error}");
        }
        Assert.Equal(413, (await Served.ErrorAsync(served.PostAsync(Text, $$"""{"prompt":"{{new string('a', 3_000_000)}}"}"""))).Status);
        Assert.Equal(415, (await Served.ErrorAsync(served.SendAsync(HttpMethod.Post, Text, new StringContent(Small)))).Status);
        Assert.Equal(404, (await Served.ErrorAsync(served.PostAsync("/v1/embeddings", "{}"))).Status);
        Assert.Equal(404, (await Served.ErrorAsync(served.PostAsync(Text, """{"prompt":"x","model":"gpt-5"}"""))).Status);
        await served.AskAsync(Text, """{"prompt":"x","max_tokens":2,"user":"somebody","metadata":{"deep":[1,[2]]}}""");
        await served.IdleAsync();
    }

    [Theory]
    [InlineData("\"n\":2", "n")]
    [InlineData("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true}}]", "tools[0].function.strict")]
    [InlineData("\"tools\":[{\"type\":\"custom\"}]", "tools[0]")]
    [InlineData("\"tool_choice\":\"required\"", "tool_choice")]
    [InlineData("\"functions\":[{\"name\":\"f\"}]", "functions")]
    [InlineData("\"response_format\":{\"type\":\"json_object\"}", "response_format")]
    [InlineData("\"presence_penalty\":0.5", "presence_penalty")]
    [InlineData("\"frequency_penalty\":-0.5", "frequency_penalty")]
    [InlineData("\"logit_bias\":{\"5\":10}", "logit_bias")]
    [InlineData("\"modalities\":[\"text\",\"audio\"]", "modalities")]
    [InlineData("\"store\":true", "store")]
    [InlineData("\"top_logprobs\":2", "top_logprobs")]
    public void What_the_engine_cannot_do_is_an_error_that_names_the_parameter(string option, string parameter)
    {
        ApiException error = Assert.Throws<ApiException>(() => Map($$"""{"messages":[{"role":"user","content":"x"}],{{option}}}"""));
        Assert.Equal((400, parameter), (error.Status, error.Parameter));
    }

    [Fact]
    public void What_says_nothing_is_not_refused()
    {
        Map("""{"messages":[{"role":"user","content":"x"}],"n":1,"tools":[],"tool_choice":"auto","response_format":{"type":"text"},"presence_penalty":0,"frequency_penalty":0.0,"logit_bias":{},"logprobs":false,"modalities":["text"],"store":false,"stop":null,"parallel_tool_calls":true,"service_tier":"auto","metadata":{"a":"b"}}""");
        Map("""{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}],"tool_choice":"none"}""");
    }

    static void Map(string json)
    {
        ChatCompletionRequest asked = JsonSerializer.Deserialize(json, OpenAiJson.Strict.ChatCompletionRequest)!;
        RequestMapping.Generate(asked, "", 16);
        RequestMapping.Messages(asked);
        RequestMapping.Tools(asked);
    }

    [Fact]
    public async Task A_chat_that_is_malformed_names_the_message()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        foreach ((string messages, string parameter) in ((string, string)[])
        [
            ("[]", "messages"), ("[null]", "messages[0].role"), ("[{\"role\":\"function\",\"content\":\"x\"}]", "messages[0].role"),
            ("[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\"}]", "messages[1].content"),
            ("[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]", "messages[0].content[0]"),
            ("[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{}]}]", "messages[0].tool_calls"),
        ])
        {
            (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Chat, $$"""{"messages":{{messages}}}"""));
            Assert.Equal((400, parameter), (status, error.GetProperty("param").GetString()));
        }
        await using Served plain = await Served.StartAsync(Repository.Demo);
        (int none, JsonElement without) = await Served.ErrorAsync(plain.PostAsync(Chat, """{"messages":[{"role":"user","content":"x"}]}"""));
        Assert.Equal(400, none);
        Assert.Contains("--template FILE", without.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_caller_who_goes_away_frees_the_sequence()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        using (HttpResponseMessage stream = await served.PostAsync(Text, Served.Endless))
        {
            Assert.Equal(HttpStatusCode.OK, stream.StatusCode);
            Assert.Equal(1, (await served.Engine.GetKvStatusAsync()).RunningRequests);
        }
        await served.IdleAsync();

        // Also one who waits for a whole answer.
        using CancellationTokenSource leaving = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        using HttpClient client = new() { BaseAddress = served.Server.Address };
        using StringContent body = new(Served.Endless.Replace("\"stream\":true", "\"stream\":false", StringComparison.Ordinal), Encoding.UTF8, "application/json");
        Task<HttpResponseMessage> waiting = client.PostAsync(new Uri(Text, UriKind.Relative), body, leaving.Token);
        while ((await served.Engine.GetKvStatusAsync()).RunningRequests == 0)
        {
            await Task.Yield();
        }
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        await served.IdleAsync();
    }

    [Fact]
    public async Task A_caller_who_does_not_read_does_not_hold_up_others()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        using TcpClient deaf = new();
        await deaf.ConnectAsync(served.Server.Address.Host, served.Server.Address.Port, Cancellation);
        await deaf.GetStream().WriteAsync(Encoding.ASCII.GetBytes(
            $"POST {Text} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {Served.Endless.Length}\r\n\r\n{Served.Endless}"), Cancellation);
        while ((await served.Engine.GetKvStatusAsync()).RunningRequests == 0)
        {
            await Task.Yield();
        }
        for (int i = 0; i < 5; i++)
        {
            await served.AskAsync(Text, Small);
        }
        Assert.Equal(1, (await served.Engine.GetKvStatusAsync()).RunningRequests);
        deaf.Close();
        await served.IdleAsync();
    }

    [Fact]
    public async Task More_requests_than_may_wait_are_told_when_to_come_back()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with { Engine = ChatModel.Small with { MaxSequences = 1 }, MaxQueued = 0 });
        using (HttpResponseMessage running = await served.PostAsync(Text, Served.Endless))
        {
            using HttpResponseMessage refused = await served.PostAsync(Text, Small);
            Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
            Assert.True(refused.Headers.RetryAfter?.Delta >= TimeSpan.FromSeconds(1));
            Assert.Equal("rate_limit_error", (await Served.ErrorAsync(Task.FromResult(refused))).Error.GetProperty("type").GetString());
        }
        await served.IdleAsync();
        HttpStatusCode status;
        do
        {
            using HttpResponseMessage again = await served.PostAsync(Text, Small);
            status = again.StatusCode;
        }
        while (status == HttpStatusCode.TooManyRequests && !Cancellation.IsCancellationRequested); // the place is free a moment after the pages are
        Assert.Equal(HttpStatusCode.OK, status);
    }

    [Fact]
    public async Task A_request_that_takes_too_long_is_ended()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with { RequestTimeout = TimeSpan.FromSeconds(2) });
        (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Text, Served.Endless.Replace("\"stream\":true", "\"stream\":false", StringComparison.Ordinal)));
        Assert.Equal((504, "timeout"), (status, error.GetProperty("code").GetString()));
        using HttpResponseMessage stream = await served.PostAsync(Text, Served.Endless);
        string[] events = (await stream.Content.ReadAsStringAsync(Cancellation)).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("timeout", JsonElement.Parse(events[^1]["data: ".Length..]).GetProperty("error").GetProperty("code").GetString());
        await served.IdleAsync();
    }

    [Fact]
    public async Task Keys_are_asked_for_and_two_do_not_find_each_other_s_tokens()
    {
        const string ann = "key-of-ann-1", ben = "key-of-ben-2";
        await using Served served = await Served.StartAsync(model.Folder, options => options with { ApiKeys = [ann, ben] });
        foreach (string? key in (string?[])[null, "wrong-key-00", ann + "x", ann[..^1]])
        {
            (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Text, Long, key));
            Assert.Equal((401, "invalid_api_key"), (status, error.GetProperty("code").GetString()));
        }
        Assert.Equal(401, (await Served.ErrorAsync(served.SendAsync(HttpMethod.Get, "/metrics"))).Status);
        Assert.Equal(401, (await Served.ErrorAsync(served.SendAsync(HttpMethod.Get, "/v1/models"))).Status);
        using HttpResponseMessage alive = await served.SendAsync(HttpMethod.Get, "/health");
        Assert.Equal(HttpStatusCode.OK, alive.StatusCode);
        Assert.Equal(0, await Cached(served, ann));
        Assert.True(await Cached(served, ann) >= 16);
        Assert.Equal(0, await Cached(served, ben));

        await using Served sharing = await Served.StartAsync(model.Folder, options => options with { ApiKeys = [ann, ben], ShareCache = true });
        Assert.Equal(0, await Cached(sharing, ann));
        Assert.True(await Cached(sharing, ben) >= 16);
    }

    static async Task<int> Cached(Served served, string key) =>
        (await served.AskAsync(Text, Long, key)).GetProperty("usage").GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32();

    [Fact]
    public async Task Pages_of_other_origins_and_other_names_are_turned_away()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        Assert.Equal(421, (await Served.ErrorAsync(served.SendAsync(HttpMethod.Get, "/v1/models", change: request => request.Headers.Host = "evil.example"))).Status);
        Assert.Equal(403, (await Served.ErrorAsync(Cross(served, "http://evil.example"))).Status);
        using HttpResponseMessage own = await Cross(served, served.Server.Address.GetLeftPart(UriPartial.Authority));
        Assert.True(own.IsSuccessStatusCode);
        Assert.False(own.Headers.Contains("Access-Control-Allow-Origin"));

        await using Served open = await Served.StartAsync(model.Folder, options => options with { CorsOrigins = ["http://app.example"], AllowedHosts = ["llm.example"], ApiKeys = ["key-of-ann-1"] });
        using HttpResponseMessage preflight = await open.SendAsync(HttpMethod.Options, Chat, change: request =>
        {
            request.Headers.Host = "llm.example";
            request.Headers.Add("Origin", "http://app.example");
            request.Headers.Add("Access-Control-Request-Method", "POST");
            request.Headers.Add("Access-Control-Request-Headers", "authorization,content-type");
        });
        Assert.Equal("http://app.example", preflight.Headers.GetValues("Access-Control-Allow-Origin").Single());
        using HttpResponseMessage refused = await Cross(open, "http://app.example");
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        Assert.Equal("http://app.example", refused.Headers.GetValues("Access-Control-Allow-Origin").Single()); // its page may read why

        static Task<HttpResponseMessage> Cross(Served from, string origin) =>
            from.SendAsync(HttpMethod.Get, "/v1/models", change: request => request.Headers.Add("Origin", origin));
    }

    [Theory]
    [InlineData("0.0.0.0", "--insecure")]
    [InlineData("*", "--insecure")]
    [InlineData("::", "--insecure")]
    [InlineData("192.168.1.5", "--insecure")]
    [InlineData("example.com", "no address")]
    public void A_server_for_strangers_wants_a_key(string host, string told)
    {
        KvServerOptions options = new() { ModelPath = model.Folder, Host = host };
        Assert.Contains(told, Assert.Throws<InvalidRequestException>(options.Validate).Message, StringComparison.Ordinal);
        if (told == "--insecure")
        {
            (options with { Insecure = true }).Validate();
            (options with { ApiKeys = ["key-of-ann-1"] }).Validate();
            Assert.Throws<InvalidRequestException>((options with { ApiKeys = ["short"] }).Validate);
        }
    }

    [Fact]
    public async Task A_server_that_stops_lets_requests_end_within_its_grace_and_cuts_them_then()
    {
        await using Served patient = await Served.StartAsync(model.Folder, options => options with { ShutdownGrace = TimeSpan.FromMinutes(10) });
        using HttpResponseMessage running = await patient.PostAsync(Text, """{"prompt":"Call me","max_tokens":200,"stream":true,"kvcuda":{"ignore_eos":true}}""");
        Task stopping = patient.Server.StopAsync(Cancellation);
        Assert.EndsWith("data: [DONE]\n\n", await running.Content.ReadAsStringAsync(Cancellation), StringComparison.Ordinal);
        await stopping;
        await Assert.ThrowsAsync<HttpRequestException>(() => patient.PostAsync(Text, Small));

        await using Served hasty = await Served.StartAsync(model.Folder);
        using HttpResponseMessage cut = await hasty.PostAsync(Text, Served.Endless);
        stopping = hasty.Server.StopAsync(Cancellation);
        string[] events = (await cut.Content.ReadAsStringAsync(Cancellation)).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("stopping", JsonElement.Parse(events[^1]["data: ".Length..]).GetProperty("error").GetProperty("code").GetString());
        await stopping;
    }
}
