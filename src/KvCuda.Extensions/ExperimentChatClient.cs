// An IChatClient over the arms of an experiment: every conversation goes to its arm, and what it cost is recorded.
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;

namespace KvCuda.Extensions;

/// <summary>
/// Sends each request to the client of its unit's arm. The unit is the conversation id, or what <paramref name="unitOf"/> says; a request
/// without either is a unit of its own. Of these metrics it records those that the experiment has: <c>time_to_first_token_ms</c>,
/// <c>latency_ms</c>, <c>output_tokens_per_s</c>, <c>error</c> (0 or 1), and the ratio <c>cached_tokens</c> (cached by prompt tokens).
/// </summary>
/// <param name="experiment">assigns and keeps</param>
/// <param name="arms">a client per arm's name; not disposed</param>
/// <param name="unitOf">the unit of a request, or null</param>
public sealed class ExperimentChatClient(Experiment experiment, IReadOnlyDictionary<string, IChatClient> arms,
    Func<IEnumerable<ChatMessage>, ChatOptions?, string?>? unitOf = null) : IChatClient
{
    readonly IReadOnlyDictionary<string, IChatClient> arms = experiment.Options.Arms.FirstOrDefault(arm => !arms.ContainsKey(arm.Name)) is { Name: not null } missing
        ? throw new InvalidRequestException($"The experiment {experiment.Options.Name} has an arm {missing.Name}, but no client was given for it.") : arms;

    /// <inheritdoc/>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        string unit = Unit(messages, options);
        long start = Stopwatch.GetTimestamp();
        try
        {
            ChatResponse response = await arms[experiment.Assign(unit)].GetResponseAsync(messages, options, cancellationToken).ConfigureAwait(false);
            Done(unit, start, null, response.Usage);
            return response;
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            Value(unit, "error", 1);
            throw;
        }
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        string unit = Unit(messages, options);
        long start = Stopwatch.GetTimestamp();
        TimeSpan? first = null;
        UsageDetails? usage = null;
        IAsyncEnumerator<ChatResponseUpdate> updates = arms[experiment.Assign(unit)].GetStreamingResponseAsync(messages, options, cancellationToken).GetAsyncEnumerator(cancellationToken);
        await using (updates.ConfigureAwait(false))
        {
            while (true)
            {
                try
                {
                    if (!await updates.MoveNextAsync().ConfigureAwait(false))
                    {
                        break;
                    }
                }
                catch (Exception error) when (error is not OperationCanceledException)
                {
                    Value(unit, "error", 1);
                    throw;
                }
                first ??= Stopwatch.GetElapsedTime(start);
                usage = updates.Current.Contents.OfType<UsageContent>().LastOrDefault()?.Details ?? usage;
                yield return updates.Current;
            }
        }
        Done(unit, start, first, usage);
    }

    string Unit(IEnumerable<ChatMessage> messages, ChatOptions? options) => unitOf?.Invoke(messages, options) ?? options?.ConversationId ?? Guid.NewGuid().ToString("N");

    void Done(string unit, long start, TimeSpan? first, UsageDetails? usage)
    {
        TimeSpan took = Stopwatch.GetElapsedTime(start);
        Value(unit, "error", 0);
        Value(unit, "latency_ms", took.TotalMilliseconds);
        if (first is { } token)
        {
            Value(unit, "time_to_first_token_ms", token.TotalMilliseconds);
        }
        if (usage?.OutputTokenCount is > 0 and long tokens && took > TimeSpan.Zero)
        {
            Value(unit, "output_tokens_per_s", tokens / took.TotalSeconds);
        }
        if (usage?.InputTokenCount is > 0 and long input && experiment.Has("cached_tokens", MetricKind.Ratio))
        {
            experiment.Record(unit, "cached_tokens", usage.CachedInputTokenCount ?? 0, input);
        }
    }

    void Value(string unit, string metric, double value)
    {
        if (experiment.Has(metric, MetricKind.Mean))
        {
            experiment.Record(unit, metric, value);
        }
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is null && serviceType.IsInstanceOfType(this) ? this : serviceKey is null && serviceType.IsInstanceOfType(experiment) ? experiment : null;
    }

    /// <summary>Does nothing: the clients of the arms are their owner's.</summary>
    public void Dispose()
    {
    }
}
