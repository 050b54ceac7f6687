using System.Diagnostics;
using System.Diagnostics.Metrics;
using KvCuda.Engine;
using Microsoft.Extensions.AI;

namespace KvCuda.Extensions;

/// <summary>What metrics and traces are called.</summary>
public static class KvCudaTelemetry
{
    /// <summary>The name of the meter and of the activity source: for <c>AddMeter</c> and <c>AddSource</c>.</summary>
    public const string Name = "KvCuda";
}

/// <summary>
/// The instruments of chat requests, with the names, units and buckets of OpenTelemetry's GenAI conventions
/// (semantic-conventions, docs/gen-ai/gen-ai-metrics.md and gen-ai-spans.md). A provider in the process is client and server
/// at once, so both kinds are here.
/// </summary>
sealed class ChatTelemetry
{
    static readonly ActivitySource source = new(KvCudaTelemetry.Name);

    readonly Histogram<long> tokens;
    readonly Histogram<double> duration, firstChunk, firstToken, perToken, queue, prefill, decode;

    public ChatTelemetry(Meter meter)
    {
        tokens = meter.CreateHistogram("gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", tags: null,
            new InstrumentAdvice<long>
            {
                HistogramBucketBoundaries = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864],
            });
        duration = Seconds("gen_ai.client.operation.duration", "GenAI operation duration.", Doubling);
        firstChunk = Seconds("gen_ai.client.operation.time_to_first_chunk", "Time to the first chunk of a streaming call.", Doubling);
        firstToken = Seconds("gen_ai.server.time_to_first_token", "Time to generate first token for successful responses.",
            [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
        perToken = Seconds("gen_ai.server.time_per_output_token", "Time per output token generated after the first token for successful responses.",
            [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]);

        queue = Seconds("kvcuda.request.queue.duration", "Time that a request waited before it first ran.", Fine);
        prefill = Seconds("kvcuda.request.prefill.duration", "Time from there to its first token.", Fine);
        decode = Seconds("kvcuda.request.decode.duration", "Time from its first token to its last.", Fine);

        Histogram<double> Seconds(string name, string description, double[] buckets) =>
            meter.CreateHistogram(name, "s", description, tags: null, new InstrumentAdvice<double> { HistogramBucketBoundaries = buckets });
    }

    static double[] Fine => [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100];

    static double[] Doubling => [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

    /// <summary>Of clients that were made without a container.</summary>
    public static ChatTelemetry Default { get; } = new(new Meter(KvCudaTelemetry.Name));

    /// <summary>Begins to measure a request.</summary>
    /// <param name="model">what it is called</param>
    /// <param name="asked">what traces tell of it</param>
    /// <param name="streaming">it is told in pieces</param>
    /// <param name="operation"><c>chat</c> or <c>text_completion</c></param>
    public ChatOperation Begin(string model, ChatOptions? asked, bool streaming, string operation = "chat") => new(this, model, asked, streaming, operation);

    internal Activity? StartActivity(string model, ChatOptions? asked, string operation)
    {
        Activity? activity = source.StartActivity($"{operation} {model}", ActivityKind.Client);
        if (activity is { IsAllDataRequested: true })
        {
            activity.SetTag("gen_ai.operation.name", operation).SetTag("gen_ai.provider.name", KvChatClient.ProviderName)
                .SetTag("gen_ai.request.model", model);
            Set("gen_ai.request.temperature", asked?.Temperature);
            Set("gen_ai.request.top_p", asked?.TopP);
            Set("gen_ai.request.top_k", asked?.TopK);
            Set("gen_ai.request.max_tokens", asked?.MaxOutputTokens);
            Set("gen_ai.request.seed", asked?.Seed);
            Set("gen_ai.request.stop_sequences", asked?.StopSequences is { Count: > 0 } stop ? stop.ToArray() : null);
        }
        return activity;

        void Set(string name, object? value)
        {
            if (value is not null)
            {
                activity.SetTag(name, value);
            }
        }
    }

    internal void Usage(in TagList tags, GenerationResult result)
    {
        TagList input = tags, output = tags;
        input.Add("gen_ai.token.type", "input");
        output.Add("gen_ai.token.type", "output");
        tokens.Record(result.PromptTokens, input);
        tokens.Record(result.GeneratedTokens, output);
        queue.Record(result.QueueTime.TotalSeconds, tags);
        prefill.Record((result.TimeToFirstToken - result.QueueTime).TotalSeconds, tags);
        decode.Record((result.Duration - result.TimeToFirstToken).TotalSeconds, tags);
        firstToken.Record(result.TimeToFirstToken.TotalSeconds, tags);
        if (result.GeneratedTokens > 1)
        {
            perToken.Record((result.Duration - result.TimeToFirstToken).TotalSeconds / (result.GeneratedTokens - 1), tags);
        }
    }

    /// <summary>What a request's time went to, as spans within its own.</summary>
    internal static void Phases(GenerationResult result)
    {
        DateTimeOffset end = DateTimeOffset.UtcNow, begun = end - result.Duration;
        DateTimeOffset scheduled = begun + result.QueueTime, first = begun + result.TimeToFirstToken;
        Span("queue", begun, scheduled, []);
        Span("prefill", scheduled, first, [new("kvcuda.cached_tokens", result.CachedTokens), new("kvcuda.computed_tokens", result.PromptTokens - result.CachedTokens)]);
        Span("decode", first, end, [new("kvcuda.generated_tokens", result.GeneratedTokens)]);

        static void Span(string name, DateTimeOffset from, DateTimeOffset to, KeyValuePair<string, object?>[] tags)
        {
            using Activity? span = source.StartActivity(name, ActivityKind.Internal, parentContext: default, tags, startTime: from);
            span?.SetEndTime(to.UtcDateTime);
        }
    }

    internal void FirstChunk(in TagList tags, TimeSpan after) => firstChunk.Record(after.TotalSeconds, tags);

    internal void Duration(in TagList tags, TimeSpan after) => duration.Record(after.TotalSeconds, tags);
}

/// <summary>One request, as it is measured; disposing ends it.</summary>
sealed class ChatOperation : IDisposable
{
    readonly ChatTelemetry telemetry;
    readonly Activity? activity;
    readonly TagList tags;
    readonly bool streaming;
    readonly long start = Stopwatch.GetTimestamp();
    string? error;
    bool updated;

    public ChatOperation(ChatTelemetry telemetry, string model, ChatOptions? asked, bool streaming, string operation)
    {
        (this.telemetry, this.streaming) = (telemetry, streaming);
        tags = new()
        {
            { "gen_ai.operation.name", operation }, { "gen_ai.provider.name", KvChatClient.ProviderName },
            { "gen_ai.request.model", model }, { "gen_ai.response.model", model },
        };
        activity = telemetry.StartActivity(model, asked, operation);
    }

    /// <summary>It has ids now.</summary>
    public void Identify(string responseId, string? conversationId)
    {
        activity?.SetTag("gen_ai.response.id", responseId);
        if (conversationId is not null)
        {
            activity?.SetTag("gen_ai.conversation.id", conversationId);
        }
    }

    /// <summary>An update goes to the caller.</summary>
    public void Update()
    {
        if (!updated && streaming)
        {
            telemetry.FirstChunk(tags, Stopwatch.GetElapsedTime(start));
        }
        updated = true;
    }

    /// <summary>The answer is whole.</summary>
    public void End(GenerationResult result)
    {
        telemetry.Usage(tags, result);
        if (activity is { IsAllDataRequested: true } && Activity.Current == activity)
        {
            ChatTelemetry.Phases(result);
        }
        activity?.SetTag("gen_ai.response.model", tags[3].Value)
            .SetTag("gen_ai.response.finish_reasons", new[] { result.FinishReason is FinishReason.EndOfSequence or FinishReason.StopText ? "stop" : "length" })
            .SetTag("gen_ai.usage.input_tokens", result.PromptTokens)
            .SetTag("gen_ai.usage.cache_read.input_tokens", result.CachedTokens)
            .SetTag("gen_ai.usage.output_tokens", result.GeneratedTokens);
    }

    /// <summary>It ends with an error.</summary>
    public void Fail(Exception failure)
    {
        error = failure.GetType().FullName;
        activity?.SetTag("error.type", error).SetStatus(ActivityStatusCode.Error, failure.Message);
    }

    public void Dispose()
    {
        TagList all = tags;
        if (error is not null)
        {
            all.Add("error.type", error);
        }
        telemetry.Duration(all, Stopwatch.GetElapsedTime(start));
        activity?.Dispose();
    }
}
