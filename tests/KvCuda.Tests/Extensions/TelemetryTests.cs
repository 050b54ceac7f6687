using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using KvCuda.Engine;
using KvCuda.Extensions;
using Microsoft.Extensions.AI;

namespace KvCuda.Tests.Extensions;

/// <summary>What a listener sees of requests and of the store, by the names that dashboards know.</summary>
public class TelemetryTests(ChatModel model) : IClassFixture<ChatModel>
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // Of one model's name: other tests run beside this one.
    sealed class Ear : IDisposable
    {
        readonly MeterListener listener = new();
        readonly string model;

        public ConcurrentQueue<(string Name, double Value, Dictionary<string, object?> Tags)> Heard { get; } = [];

        public Ear(string model)
        {
            this.model = model;
            listener.InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Meter.Name == KvCudaTelemetry.Name)
                {
                    self.EnableMeasurementEvents(instrument);
                }
            };
            listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Take(instrument, value, tags));
            listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Take(instrument, value, tags));
            listener.Start();
        }

        void Take(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            Dictionary<string, object?> all = new(tags.ToArray());
            if (all.ContainsValue(model))
            {
                Heard.Enqueue((instrument.Name, value, all));
            }
        }

        public double Of(string name, string? tag = null, string? value = null) =>
            Assert.Single(Heard, heard => heard.Name == name && (tag is null || value!.Equals(heard.Tags[tag]))).Value;

        public void Collect() => listener.RecordObservableInstruments();

        public void Dispose() => listener.Dispose();
    }

    [Fact]
    public async Task A_request_is_measured_by_the_conventions_names()
    {
        using Ear ear = new("measured");
        using KvChatClient chat = model.Engine.AsChatClient(new() { ModelId = "measured", Generate = new() { MaxTokens = 9, IgnoreEos = true } });
        ChatResponse response = await chat.GetResponseAsync("Call me", cancellationToken: Cancellation);
        Assert.Equal(response.Usage!.InputTokenCount, (long)ear.Of("gen_ai.client.token.usage", "gen_ai.token.type", "input"));
        Assert.Equal(9, ear.Of("gen_ai.client.token.usage", "gen_ai.token.type", "output"));
        double duration = ear.Of("gen_ai.client.operation.duration"), first = ear.Of("gen_ai.server.time_to_first_token");
        Assert.True(duration >= first && first > 0);
        Assert.True(ear.Of("gen_ai.server.time_per_output_token") > 0);
        Assert.DoesNotContain(ear.Heard, heard => heard.Name == "gen_ai.client.operation.time_to_first_chunk");
        Assert.All(ear.Heard, heard => Assert.Equal(("chat", "kvcuda", "measured"),
            (heard.Tags["gen_ai.operation.name"], heard.Tags["gen_ai.provider.name"], heard.Tags["gen_ai.request.model"])));

        ear.Heard.Clear();
        await foreach (ChatResponseUpdate _ in chat.GetStreamingResponseAsync("Call me", cancellationToken: Cancellation)) { }
        Assert.True(ear.Of("gen_ai.client.operation.time_to_first_chunk") > 0);

        ear.Heard.Clear();
        await Assert.ThrowsAsync<InvalidRequestException>(() => chat.GetResponseAsync("Call me", new() { TopP = 3 }, Cancellation));
        Assert.Equal("KvCuda.InvalidRequestException", Assert.Single(ear.Heard).Tags["error.type"]);
    }

    [Fact]
    public async Task A_request_is_a_span_with_what_was_asked_and_used()
    {
        ConcurrentQueue<Activity> spans = [];
        using ActivityListener listener = new()
        {
            ShouldListenTo = source => source.Name == KvCudaTelemetry.Name,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = span =>
            {
                if (span.DisplayName == "chat traced")
                {
                    spans.Enqueue(span);
                }
            },
        };
        ActivitySource.AddActivityListener(listener);
        using KvChatClient chat = model.Engine.AsChatClient(new() { ModelId = "traced", KeepConversations = true });
        ChatResponse response = await chat.GetResponseAsync("Call me", new() { MaxOutputTokens = 5, Temperature = 0.5f, StopSequences = ["zz"] }, Cancellation);
        Assert.True(spans.TryDequeue(out Activity? span));
        Assert.Equal(ActivityKind.Client, span.Kind);
        Dictionary<string, object?> tags = new(span.TagObjects);
        Assert.Equal("chat", tags["gen_ai.operation.name"]);
        Assert.Equal(5, tags["gen_ai.request.max_tokens"]);
        Assert.Equal(0.5f, tags["gen_ai.request.temperature"]);
        Assert.Equal(["zz"], (string[])tags["gen_ai.request.stop_sequences"]!);
        Assert.Equal(response.ResponseId, tags["gen_ai.response.id"]);
        Assert.Equal(response.ConversationId, tags["gen_ai.conversation.id"]);
        Assert.Equal(response.Usage!.OutputTokenCount, (int)tags["gen_ai.usage.output_tokens"]!);
        Assert.Equal(["length"], (string[])tags["gen_ai.response.finish_reasons"]!);

        await Assert.ThrowsAsync<InvalidRequestException>(() => chat.GetResponseAsync("Call me", new() { ConversationId = "none" }, Cancellation));
        Assert.True(spans.TryDequeue(out span));
        Assert.Equal(ActivityStatusCode.Error, span.Status);
        Assert.Contains("none is not known", span.StatusDescription, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_stores_numbers_are_observed_and_add_up()
    {
        await using KvEngine engine = await KvEngine.LoadAsync(model.Folder, ChatModel.Small, cancellation: Cancellation);
        using Ear ear = new("observed");
        using KvStoreMetrics metrics = new(engine, modelId: "observed");
        using KvChatClient chat = engine.AsChatClient(new() { Generate = new() { MaxTokens = 4 } });
        await using PrecomputedPrompt pinned = await engine.PrecomputeAsync(string.Join(' ', Enumerable.Repeat("whale", 20)), cancellation: Cancellation);
        ChatMessage[] said = [new(ChatRole.User, "Call me Ishmael, some years ago, never mind how long precisely")];
        await chat.GetResponseAsync(said, cancellationToken: Cancellation);
        ChatResponse again = await chat.GetResponseAsync(said, cancellationToken: Cancellation);
        ear.Collect();
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.Equal(status.ArenaBytes, ear.Heard.Where(heard => heard.Name == "kvcuda.store.bytes").Sum(heard => heard.Value));
        Assert.Equal(status.PinnedBytes, ear.Of("kvcuda.store.bytes", "kvcuda.state", "pinned"));
        Assert.Equal(pinned.PinnedTokens / 16, ear.Of("kvcuda.store.pages", "kvcuda.state", "pinned"));
        Assert.Equal(status.CachedPages, ear.Of("kvcuda.store.pages", "kvcuda.state", "cached"));
        Assert.True(status.CachedPages > 0);
        Assert.Equal(0, ear.Of("kvcuda.store.pages", "kvcuda.state", "active"));
        Assert.Equal(again.Usage!.CachedInputTokenCount, (long)ear.Of("kvcuda.store.tokens.found", "kvcuda.source", "shared"));
        Assert.Equal((double)status.FoundTokens / status.QueriedTokens, ear.Of("kvcuda.store.hit_rate"));
        Assert.Equal(0, ear.Of("kvcuda.requests", "kvcuda.state", "waiting"));
        Assert.DoesNotContain(ear.Heard, heard => heard.Name == "kvcuda.store.host.bytes");

        await engine.DisposeAsync();
        using KvStoreMetrics late = new(engine, modelId: "gone");
        using Ear other = new("gone");
        other.Collect(); // nothing, and no error
        Assert.Empty(other.Heard);
    }
}
