// One caller does not take from another: connections, places, tokens, priorities; and a server that stops says so while it listens.
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using KvCuda.Server;
using KvCuda.Tests.Extensions;

namespace KvCuda.Tests.Server;

public sealed class LimitTests(ChatModel model) : IClassFixture<ChatModel>
{
    const string Text = "/v1/completions", Small = """{"prompt":"Call me","max_tokens":2}""", Ann = "key-of-ann-1", Ben = "key-of-ben-2";

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    static async Task<TcpClient> ConnectAsync(Served served)
    {
        TcpClient client = new();
        await client.ConnectAsync(served.Server.Address.Host, served.Server.Address.Port, Cancellation);
        return client;
    }

    [Fact]
    public async Task Connections_that_say_nothing_make_room_for_those_that_do()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with { MaxConnections = 6 });
        List<TcpClient> silent = [];
        for (int i = 0; i < 40; i++)
        {
            silent.Add(await ConnectAsync(served));
        }
        for (int i = 0; i < 5; i++)
        {
            await served.AskAsync(Text, Small);
        }
        silent.ForEach(client => client.Dispose());
    }

    [Fact]
    public async Task A_connection_that_says_nothing_for_too_long_is_closed()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with { FirstByteTimeout = TimeSpan.FromMilliseconds(50) });
        using TcpClient silent = await ConnectAsync(served);
        byte[] nothing = new byte[1];
        int read;
        try
        {
            read = await silent.GetStream().ReadAsync(nothing, Cancellation);
        }
        catch (IOException)
        {
            read = 0; // reset
        }
        Assert.Equal(0, read);
    }

    [Fact]
    public async Task Probes_are_answered_when_all_connections_are_at_work()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with { MaxConnections = 1 });
        using TcpClient busy = await ConnectAsync(served);
        await busy.GetStream().WriteAsync(Encoding.ASCII.GetBytes(
            $"POST {Text} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {Served.Endless.Length}\r\n\r\n{Served.Endless}"), Cancellation);
        while ((await served.Engine.GetKvStatusAsync()).RunningRequests == 0)
        {
            await Task.Yield();
        }
        using HttpResponseMessage alive = await served.SendAsync(HttpMethod.Get, "/health");
        Assert.Equal(HttpStatusCode.OK, alive.StatusCode);
        (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Text, Small));
        Assert.Equal((503, "too_many_connections"), (status, error.GetProperty("code").GetString()));
    }

    [Fact]
    public async Task One_key_does_not_take_every_place()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with
        {
            ApiKeys = [Ann, Ben], Engine = ChatModel.Small with { MaxSequences = 2 }, MaxQueued = 0,
        });
        using HttpResponseMessage running = await served.PostAsync(Text, Served.Endless, Ann);
        Assert.Equal(HttpStatusCode.OK, running.StatusCode);
        (int status, JsonElement error) = await Served.ErrorAsync(served.PostAsync(Text, Small, Ann));
        Assert.Equal((429, "rate_limit_error"), (status, error.GetProperty("type").GetString()));
        await served.AskAsync(Text, Small, Ben);
    }

    [Fact]
    public async Task A_key_has_so_many_tokens_a_minute()
    {
        Clock clock = new();
        await using Served served = await Served.StartAsync(model.Folder, options => options with
        {
            ApiKeys = [Ann, Ben], TokensPerMinutePerKey = 10, Engine = ChatModel.Small with { TimeProvider = clock },
        });
        await served.AskAsync(Text, """{"prompt":"Call me","max_tokens":30,"ignore_eos":true}""", Ann);
        using (HttpResponseMessage refused = await served.PostAsync(Text, Small, Ann))
        {
            Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
            Assert.True(refused.Headers.RetryAfter?.Delta > TimeSpan.FromSeconds(1));
        }
        await served.AskAsync(Text, Small, Ben);
        clock.Now += TimeSpan.FromMinutes(10);
        await served.AskAsync(Text, Small, Ann);
    }

    sealed class Clock : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }

    [Fact]
    public async Task Of_several_keys_none_may_ask_for_more_priority_than_the_others_have()
    {
        const string asked = """{"prompt":"Call me","max_tokens":2,"priority":36}""";
        await using Served shared = await Served.StartAsync(model.Folder, options => options with { ApiKeys = [Ann, Ben] });
        (int status, JsonElement error) = await Served.ErrorAsync(shared.PostAsync(Text, asked, Ann));
        Assert.Equal((400, "priority"), (status, error.GetProperty("param").GetString()));
        await shared.AskAsync(Text, asked.Replace("36", "35", StringComparison.Ordinal), Ann);
        await using Served alone = await Served.StartAsync(model.Folder, options => options with { ApiKeys = [Ann] });
        await alone.AskAsync(Text, asked, Ann);
    }

    [Fact]
    public async Task HEAD_is_answered_and_a_wrong_method_is_told_which_are_right()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        foreach (string path in (string[])["/", "/health", "/ready", "/metrics", "/v1/models", "/v1/models/demo"])
        {
            using HttpResponseMessage head = await served.SendAsync(HttpMethod.Head, path);
            Assert.Equal(HttpStatusCode.OK, head.StatusCode);
            Assert.Empty(await head.Content.ReadAsByteArrayAsync(Cancellation));
        }
        foreach ((HttpMethod method, string path, string allowed) in ((HttpMethod, string, string)[])
            [(HttpMethod.Get, Text, "POST"), (HttpMethod.Post, "/health", "GET"), (HttpMethod.Delete, "/v1/models/demo", "HEAD")])
        {
            using HttpResponseMessage wrong = await served.SendAsync(method, path);
            Assert.Equal(HttpStatusCode.MethodNotAllowed, wrong.StatusCode);
            Assert.Contains(allowed, wrong.Content.Headers.Allow);
        }
        Assert.Equal(404, (await Served.ErrorAsync(served.SendAsync(HttpMethod.Get, "/v1/nothing"))).Status);
    }

    [Fact]
    public async Task A_server_that_stops_listens_and_says_so_until_nothing_runs()
    {
        await using Served served = await Served.StartAsync(model.Folder, options => options with { ShutdownGrace = TimeSpan.FromMinutes(10) });
        HttpResponseMessage running = await served.PostAsync(Text, Served.Endless);
        Task stopping = served.Server.StopAsync(Cancellation);
        using (HttpResponseMessage ready = await served.SendAsync(HttpMethod.Get, "/ready"))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
            Assert.Contains("stopping", await ready.Content.ReadAsStringAsync(Cancellation), StringComparison.Ordinal);
        }
        Assert.Equal(503, (await Served.ErrorAsync(served.PostAsync(Text, Small))).Status);
        running.Dispose();
        await stopping;

        await using Served slow = await Served.StartAsync(model.Folder, options => options with { DrainDelay = TimeSpan.FromMinutes(10) });
        stopping = slow.Server.StopAsync(Cancellation);
        using (HttpResponseMessage ready = await slow.SendAsync(HttpMethod.Get, "/ready"))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
        }
        await slow.AskAsync(Text, Small); // a balancer needs time to notice
        await slow.Server.StopAsync(new CancellationToken(canceled: true));
        await stopping;
    }

    [Fact]
    public void What_the_engine_says_of_its_queue_and_of_the_model_s_output_is_told()
    {
        Assert.Equal(429, ApiException.Of(new QueueFullException("full", 1))!.Status);
        ApiException broken = ApiException.Of(new ModelOutputException("no numbers"))!;
        Assert.Equal((500, "no numbers"), (broken.Status, broken.Message));
    }

    [Fact]
    public async Task A_caller_s_own_name_of_a_request_comes_back()
    {
        await using Served served = await Served.StartAsync(model.Folder);
        foreach ((string? sent, bool back) in ((string?, bool)[])[("mine-7", true), (new string('x', 200), false), (null, false)])
        {
            using StringContent body = new(Small, Encoding.UTF8, "application/json");
            using HttpResponseMessage response = await served.SendAsync(HttpMethod.Post, Text, body, change: request =>
            {
                if (sent is not null)
                {
                    request.Headers.Add("x-request-id", sent);
                }
            });
            Assert.Equal(back, response.Headers.GetValues("x-request-id").Single() == sent);
        }
    }
}
