using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using KvCuda.Engine;
using KvCuda.Server;
using KvCuda.Tests.Extensions;

namespace KvCuda.Tests.Server;

/// <summary>A server on a free loopback port, with its model loaded, and who asks it.</summary>
public sealed class Served : IAsyncDisposable
{
    /// <summary>Goes on until it is broken off: an answer at constant memory.</summary>
    public const string Endless = """{"prompt":"Call me","max_tokens":100000000,"stream":true,"kvcuda":{"when_full":"slide","window":60,"ignore_eos":true}}""";

    readonly HttpClient client = new();

    Served(KvServer server) => Server = server;

    public KvServer Server { get; }

    public KvEngine Engine { get; private set; } = null!;

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static async Task<Served> StartAsync(string folder, Func<KvServerOptions, KvServerOptions>? configure = null)
    {
        KvServerOptions options = new() { ModelPath = folder, ModelId = "demo", Engine = ChatModel.Small, Port = 0, ShutdownGrace = TimeSpan.Zero };
        Served served = new(new(configure?.Invoke(options) ?? options));
        await served.Server.StartAsync(Cancellation);
        served.Engine = await served.Server.GetEngineAsync(Cancellation);
        served.client.BaseAddress = served.Server.Address;
        return served;
    }

    public async ValueTask DisposeAsync()
    {
        client.Dispose();
        await Server.DisposeAsync();
    }

    public Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, HttpContent? body = null, string? key = null, Action<HttpRequestMessage>? change = null)
    {
        HttpRequestMessage request = new(method, path) { Content = body };
        if (key is not null)
        {
            request.Headers.Authorization = new("Bearer", key);
        }
        change?.Invoke(request);
        return client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancellation);
    }

    public Task<HttpResponseMessage> PostAsync(string path, string json, string? key = null) =>
        SendAsync(HttpMethod.Post, path, new StringContent(json, Encoding.UTF8, new MediaTypeHeaderValue("application/json")), key);

    /// <summary>The answer of a request that succeeds.</summary>
    public async Task<JsonElement> AskAsync(string path, string json, string? key = null)
    {
        using HttpResponseMessage response = await PostAsync(path, json, key);
        string body = await response.Content.ReadAsStringAsync(Cancellation);
        Assert.True(response.IsSuccessStatusCode, body);
        return JsonElement.Parse(body);
    }

    /// <summary>The events of a stream that ends as it should; the last is not <c>[DONE]</c>, which is checked.</summary>
    public async Task<List<JsonElement>> StreamAsync(string path, string json)
    {
        using HttpResponseMessage response = await PostAsync(path, json);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        string[] events = (await response.Content.ReadAsStringAsync(Cancellation)).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.All(events, line => Assert.StartsWith("data: ", line, StringComparison.Ordinal));
        Assert.Equal("data: [DONE]", events[^1]);
        return [.. events[..^1].Select(line => JsonElement.Parse(line["data: ".Length..]))];
    }

    /// <summary>The error object of a response that is one.</summary>
    public static async Task<(int Status, JsonElement Error)> ErrorAsync(Task<HttpResponseMessage> sent)
    {
        using HttpResponseMessage response = await sent;
        string body = await response.Content.ReadAsStringAsync(Cancellation);
        JsonElement error = Assert.Single(JsonElement.Parse(body).EnumerateObject(), property => property.Name == "error").Value;
        Assert.Equal(["code", "message", "param", "type"], error.EnumerateObject().Select(property => property.Name).Order());
        Assert.NotEmpty(error.GetProperty("message").GetString()!);
        Assert.DoesNotContain("   at ", body, StringComparison.Ordinal);
        return ((int)response.StatusCode, error);
    }

    /// <summary>Waits until nothing runs and no pages are in use.</summary>
    public async Task<KvStatus> IdleAsync()
    {
        while (true)
        {
            KvStatus status = await Engine.GetKvStatusAsync();
            if (status is { RunningRequests: 0, WaitingRequests: 0, ActivePages: 0 })
            {
                return status;
            }
            await Task.Yield();
            Cancellation.ThrowIfCancellationRequested();
        }
    }
}
