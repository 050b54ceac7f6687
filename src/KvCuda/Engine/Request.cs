using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Threading.Channels;
using KvCuda.KvStore;
using KvCuda.Text;

namespace KvCuda.Engine;

/// <summary>One generation on its way through the engine: its tokens, its place in the store, and who listens.</summary>
internal sealed class Request
{
    readonly GenerateOptions options;
    readonly StreamingDecoder? decoder;
    readonly StopMatcher stops;
    readonly Drafter? drafter;
    readonly HashSet<int> endings;
    readonly System.Text.StringBuilder text = new();
    readonly List<int> history = []; // distinct tokens, in order of appearance, where a penalty needs them
    readonly HashSet<int> seen = [];
    readonly Channel<GeneratedPiece> pieces = Channel.CreateUnbounded<GeneratedPiece>(
        new() { SingleReader = true, SingleWriter = true });
    /// <summary>
    /// Pieces that may wait for their reader. A request that has more to read rests until half of them are read: what a slow
    /// reader does not read costs memory, and only he waits for it.
    /// </summary>
    internal const int MostUnread = 4096;

    static long lastId;

    readonly long created = Stopwatch.GetTimestamp();
    long scheduled, firstToken;
    int unread;
    (FinishReason Reason, string Text, int? Token, TokenLogprob? Logprob) last;

    /// <param name="prompt">token ids, at least one</param>
    /// <param name="options">how to generate</param>
    /// <param name="decoder">ids to text, or null for tokens only</param>
    /// <param name="endings">ids that end a sequence</param>
    /// <param name="longest">tokens the sequence can have in the end</param>
    /// <param name="session">the session it is a turn of; 0: none</param>
    /// <param name="scope">who may reuse its keys and values</param>
    /// <param name="cancellation">ends the request between two steps</param>
    public Request(IReadOnlyList<int> prompt, GenerateOptions options, StreamingDecoder? decoder, IEnumerable<int> endings,
        int longest, long session, KvScope scope, CancellationToken cancellation)
    {
        this.options = options;
        this.decoder = decoder;
        this.endings = options.IgnoreEos ? [] : [.. endings];
        stops = new(options.Stop);
        drafter = options.Speculate == Speculation.NGram && options.WhenFull == ContextFull.Stop ? new(options.DraftTokens) : null;
        Tokens = [.. prompt];
        PromptCount = prompt.Count;
        LongestLength = longest;
        Cancellation = cancellation;
        (Session, Scope) = (session, scope);
        Seed = options.Seed ?? (ulong)Random.Shared.NextInt64();
        foreach (int token in prompt)
        {
            Remember(token);
        }
    }

    /// <summary>Prompt and generated tokens. The last one has no keys and values yet.</summary>
    public List<int> Tokens { get; }

    public int PromptCount { get; }

    /// <summary>A number of its own in this process.</summary>
    public long Id { get; } = Interlocked.Increment(ref lastId);

    /// <summary>Since it came.</summary>
    public TimeSpan Age => Stopwatch.GetElapsedTime(created);

    /// <summary>When its latest token was chosen; 0: none was.</summary>
    public long LastTokenAt { get; set; }

    /// <summary>Why it ended, once it did.</summary>
    public FinishReason EndedWith => last.Reason;

    /// <summary>Tokens the sequence can have in the end.</summary>
    public int LongestLength { get; }

    public ulong Seed { get; }

    public CancellationToken Cancellation { get; }

    public long Session { get; }

    public KvScope Scope { get; }

    /// <summary>How it slides past the context; null: it ends there.</summary>
    public KvStreaming? Streaming { get; init; }

    /// <summary>Further ids that the caller wants it to end with.</summary>
    public IReadOnlySet<int> StopTokens { get; init; } = new HashSet<int>();

    public IReadOnlyList<CacheRetention> Retention => options.Retention;

    /// <summary>Called on the engine's thread when all is computed and the pages are still held.</summary>
    public Action<KvSequence>? BeforeRelease { get; init; }

    /// <summary>Pages, while the request runs; null while it waits or after a preemption.</summary>
    public KvSequence? Kv { get; set; }

    /// <summary>Prompt tokens that were found in the store when the request first ran.</summary>
    public int CachedTokens { get; private set; }

    /// <summary>It ran before, so that its prompt was looked up and counted.</summary>
    public bool WasScheduled => scheduled != 0;

    /// <summary>All is told: the result, the error, or nothing after a cancellation.</summary>
    public bool IsOver { get; private set; }

    /// <summary>Called once when it no longer waits for its first step.</summary>
    public Action? LeavesQueue { get; set; }

    /// <summary>Its place among those that wait; null while it runs or rests.</summary>
    public LinkedListNode<Request>? Waiting { get; set; }

    /// <summary>Its reader is far behind, so that it does not run in this step.</summary>
    public bool Rests { get; private set; }

    /// <summary>Finds out how far behind its reader is: once a step.</summary>
    public bool LookAtReader()
    {
        int count = Unread;
        return Rests = count >= MostUnread || (Rests && count > MostUnread / 2);
    }

    /// <summary>Pieces that its reader has not read.</summary>
    public int Unread => Volatile.Read(ref unread);

    /// <summary>The reader has one piece more; true if the request may run again, should it rest. For the reader's thread.</summary>
    public bool HasRead() => Interlocked.Decrement(ref unread) == MostUnread / 2;

    /// <summary>Tokens whose keys and values must be computed before the next token can be chosen.</summary>
    public int Pending => Tokens.Count - (Kv?.Length ?? 0);

    public ChannelReader<GeneratedPiece> Pieces => pieces.Reader;

    /// <summary>Guesses the next tokens, if that was asked for.</summary>
    /// <param name="most">tokens that have room in the step</param>
    /// <returns>how many are guessed: <see cref="Drafts"/></returns>
    public int Guess(int most) => drafter?.Guess(Tokens, Math.Min(most, LongestLength - Tokens.Count - 1)) ?? 0;

    /// <summary>What was guessed for this step.</summary>
    public IReadOnlyList<int> Drafts => drafter?.Drafts ?? [];

    /// <summary>The guess has no room after all.</summary>
    public void DropDrafts() => drafter?.Shorten(0);

    /// <summary>The guess was checked: so many of its first tokens were right.</summary>
    public void LearnFromDrafts(int accepted) => drafter?.Learn(accepted);

    /// <summary>Adds the rows from which the next token is chosen, and those after each of the first <paramref name="drafts"/> guesses.</summary>
    public void AddRows(Sampler sampler, int drafts)
    {
        for (int i = 0; i <= drafts; i++)
        {
            ReadOnlySpan<int> before = CollectionsMarshal.AsSpan(history);
            if (i > 0 && options.RepetitionPenalty != 1)
            {
                // A guess counts as seen for those after it.
                before = (int[])[.. history, .. Drafts.Take(i).Where(token => !seen.Contains(token)).Distinct()];
            }
            sampler.Add(new()
            {
                Temperature = options.Temperature, TopK = options.TopK, TopP = options.TopP, MinP = options.MinP,
                RepetitionPenalty = options.RepetitionPenalty, SeedLow = (uint)Seed, SeedHigh = (uint)(Seed >> 32), Step = Tokens.Count + i,
            }, before, options.Logprobs);
        }
    }

    /// <summary>It runs, the first time or again after a preemption.</summary>
    /// <param name="cached">tokens found in the store</param>
    public void MarkScheduled(int cached)
    {
        if (scheduled == 0)
        {
            LeaveQueue();
            scheduled = Stopwatch.GetTimestamp();
            CachedTokens = cached;
        }
    }

    /// <summary>Takes the next token, and tells the listener unless it is the last.</summary>
    /// <param name="token">the chosen token</param>
    /// <param name="logprob">its probability, if asked for</param>
    /// <returns>whether the request is finished: then <see cref="Complete"/> is next</returns>
    public bool Accept(int token, TokenLogprob? logprob)
    {
        if (firstToken == 0)
        {
            firstToken = Stopwatch.GetTimestamp();
        }
        if (endings.Contains(token))
        {
            return Finish(FinishReason.EndOfSequence, "", null, null);
        }
        if (StopTokens.Contains(token))
        {
            return Finish(FinishReason.StopText, stops.Append(decoder?.Flush() ?? "") + stops.Flush(), null, null);
        }
        Tokens.Add(token);
        Remember(token);
        string certain = stops.Append(decoder?.Append(token) ?? "");
        if (stops.Stopped)
        {
            return Finish(FinishReason.StopText, certain, token, logprob);
        }
        if (Tokens.Count - PromptCount >= options.MaxTokens)
        {
            return Finish(FinishReason.MaxTokens, certain, token, logprob);
        }
        if (Tokens.Count >= LongestLength)
        {
            return Finish(FinishReason.ContextFull, certain, token, logprob);
        }
        text.Append(certain);
        Interlocked.Increment(ref unread);
        pieces.Writer.TryWrite(new(certain, token, logprob, null));
        return false;
    }

    bool Finish(FinishReason reason, string certain, int? token, TokenLogprob? logprob)
    {
        if (reason != FinishReason.StopText)
        {
            certain += stops.Append(decoder?.Flush() ?? "") + stops.Flush();
        }
        text.Append(certain);
        last = (reason, certain, token, logprob);
        return true;
    }

    /// <summary>Tells the listener the last piece with the figures; its pages have gone back.</summary>
    /// <param name="held">bytes of pages it held</param>
    /// <param name="perToken">bytes of keys and values per token</param>
    public void Complete(long held, long perToken)
    {
        pieces.Writer.TryWrite(new(last.Text, last.Token, last.Logprob, new()
        {
            Text = text.ToString(),
            Tokens = Tokens[PromptCount..],
            FinishReason = last.Reason,
            Seed = Seed,
            PromptTokens = PromptCount,
            CachedTokens = CachedTokens,
            DraftTokens = drafter?.Drafted ?? 0,
            AcceptedDraftTokens = drafter?.Accepted ?? 0,
            QueueTime = Stopwatch.GetElapsedTime(created, scheduled),
            TimeToFirstToken = Stopwatch.GetElapsedTime(created, firstToken),
            Duration = Stopwatch.GetElapsedTime(created),
            KvBytes = held,
            KvBytesPerToken = perToken,
        }));
        IsOver = true;
        pieces.Writer.TryComplete();
    }

    /// <summary>Ends the request with an error, or quietly after its cancellation.</summary>
    public void Fail(Exception? error)
    {
        LeaveQueue();
        IsOver = true;
        pieces.Writer.TryComplete(error);
    }

    void LeaveQueue()
    {
        LeavesQueue?.Invoke();
        LeavesQueue = null;
    }

    void Remember(int token)
    {
        if (options.RepetitionPenalty != 1 && seen.Add(token))
        {
            history.Add(token);
        }
    }
}
