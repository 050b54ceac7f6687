using System.Diagnostics;
using System.Threading.Channels;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Text;

namespace KvCuda.Engine;

/// <summary>One generation on its way through the engine: its tokens, its place in the store, and who listens.</summary>
internal sealed class Request
{
    readonly GenerateOptions options;
    readonly StreamingDecoder? decoder;
    readonly StopMatcher stops;
    readonly HashSet<int> endings;
    readonly System.Text.StringBuilder text = new();
    readonly List<int> history = []; // distinct tokens, in order of appearance, where a penalty needs them
    readonly HashSet<int> seen = [];
    readonly Channel<GeneratedPiece> pieces = Channel.CreateUnbounded<GeneratedPiece>(
        new() { SingleReader = true, SingleWriter = true });
    readonly long created = Stopwatch.GetTimestamp();
    long scheduled, firstToken;

    /// <param name="prompt">token ids, at least one</param>
    /// <param name="options">how to generate</param>
    /// <param name="decoder">ids to text, or null for tokens only</param>
    /// <param name="endings">ids that end a sequence</param>
    /// <param name="maxContext">longest sequence in tokens</param>
    /// <param name="cancellation">ends the request between two steps</param>
    public Request(IReadOnlyList<int> prompt, GenerateOptions options, StreamingDecoder? decoder, IEnumerable<int> endings,
        int maxContext, CancellationToken cancellation)
    {
        this.options = options;
        this.decoder = decoder;
        this.endings = options.IgnoreEos ? [] : [.. endings];
        stops = new(options.Stop);
        Tokens = [.. prompt];
        PromptCount = prompt.Count;
        LongestLength = (int)Math.Min((long)prompt.Count + options.MaxTokens, maxContext);
        Cancellation = cancellation;
        Seed = options.Seed ?? (ulong)Random.Shared.NextInt64();
        foreach (int token in prompt)
        {
            Remember(token);
        }
    }

    /// <summary>Prompt and generated tokens. The last one has no keys and values yet.</summary>
    public List<int> Tokens { get; }

    public int PromptCount { get; }

    /// <summary>Tokens the sequence can have in the end.</summary>
    public int LongestLength { get; }

    public ulong Seed { get; }

    public CancellationToken Cancellation { get; }

    /// <summary>Pages, while the request runs; null while it waits or after a preemption.</summary>
    public KvSequence? Kv { get; set; }

    /// <summary>Prompt tokens that were found in the store when the request first ran.</summary>
    public int CachedTokens { get; set; }

    /// <summary>Tokens whose keys and values must be computed before the next token can be chosen.</summary>
    public int Pending => Tokens.Count - (Kv?.Length ?? 0);

    public int? Logprobs => options.Logprobs;

    public ChannelReader<GeneratedPiece> Pieces => pieces.Reader;

    /// <summary>How the next token is chosen; what a penalty looks at is appended to <paramref name="histories"/>.</summary>
    public SampleRow Sampling(List<int> histories)
    {
        int start = histories.Count;
        if (options.RepetitionPenalty != 1)
        {
            histories.AddRange(history);
        }
        return new()
        {
            Temperature = options.Temperature, TopK = options.TopK, TopP = options.TopP, MinP = options.MinP,
            RepetitionPenalty = options.RepetitionPenalty, HistoryStart = start, HistoryCount = histories.Count - start,
            SeedLow = (uint)Seed, SeedHigh = (uint)(Seed >> 32), Step = Tokens.Count,
        };
    }

    public void MarkScheduled()
    {
        if (scheduled == 0)
        {
            scheduled = Stopwatch.GetTimestamp();
        }
    }

    /// <summary>Takes the next token and tells the listener.</summary>
    /// <param name="token">the chosen token</param>
    /// <param name="logprob">its probability, if asked for</param>
    /// <param name="describe">the key/value bytes held and per token, asked for at the end</param>
    /// <returns>whether the request is finished</returns>
    public bool Accept(int token, TokenLogprob? logprob, Func<(long Held, long PerToken)> describe)
    {
        if (firstToken == 0)
        {
            firstToken = Stopwatch.GetTimestamp();
        }
        FinishReason? finish = null;
        if (endings.Contains(token))
        {
            finish = FinishReason.EndOfSequence;
        }
        else
        {
            Tokens.Add(token);
            Remember(token);
            string certain = stops.Append(decoder?.Append(token) ?? "");
            text.Append(certain);
            finish = stops.Stopped ? FinishReason.StopText
                : Tokens.Count - PromptCount >= options.MaxTokens ? FinishReason.MaxTokens
                : Tokens.Count >= LongestLength ? FinishReason.ContextFull
                : null;
            if (finish is null)
            {
                pieces.Writer.TryWrite(new(certain, token, logprob, null));
                return false;
            }
            if (finish == FinishReason.StopText)
            {
                return Finish(certain, token, logprob, finish.Value, describe());
            }
            string rest = stops.Append(decoder?.Flush() ?? "") + stops.Flush();
            text.Append(rest);
            return Finish(certain + rest, token, logprob, finish.Value, describe());
        }
        string last = stops.Append(decoder?.Flush() ?? "") + stops.Flush();
        text.Append(last);
        return Finish(last, null, null, finish.Value, describe());
    }

    /// <summary>Ends the request with an error, or quietly after its cancellation.</summary>
    public void Fail(Exception? error) => pieces.Writer.TryComplete(error);

    bool Finish(string lastText, int? token, TokenLogprob? logprob, FinishReason reason, (long Held, long PerToken) kv)
    {
        pieces.Writer.TryWrite(new(lastText, token, logprob, new()
        {
            Text = text.ToString(),
            Tokens = Tokens[PromptCount..],
            FinishReason = reason,
            Seed = Seed,
            PromptTokens = PromptCount,
            CachedTokens = CachedTokens,
            QueueTime = Stopwatch.GetElapsedTime(created, scheduled),
            TimeToFirstToken = Stopwatch.GetElapsedTime(created, firstToken),
            Duration = Stopwatch.GetElapsedTime(created),
            KvBytes = kv.Held,
            KvBytesPerToken = kv.PerToken,
        }));
        pieces.Writer.TryComplete();
        return true;
    }

    void Remember(int token)
    {
        if (options.RepetitionPenalty != 1 && seen.Add(token))
        {
            history.Add(token);
        }
    }
}
