using System.Runtime.CompilerServices;

namespace KvCuda.Engine;

/// <summary>How a conversation is kept.</summary>
public sealed record SessionOptions
{
    /// <summary>Separates tenants, as in <see cref="GenerateOptions.Salt"/>.</summary>
    public string Salt { get; init; } = "";

    /// <summary>Whether others may find what the session computed, and it what others did.</summary>
    public CacheScope Cache { get; init; } = CacheScope.Shared;

    /// <summary>0 to 100: how much its tokens are worth between turns.</summary>
    public int Priority { get; init; } = 35;

    /// <summary>How long without a turn its tokens stay cached; null: as long as there is room.</summary>
    public TimeSpan? IdleTimeToLive { get; init; }

    internal void Validate() => Retention.Validate();

    internal CacheRetention Retention => new(0, null, Priority, IdleTimeToLive);
}

/// <summary>
/// A conversation across turns. Between turns its keys and values are cached, not held: what was evicted in the meantime is
/// computed again by the next turn and shows as tokens that were not cached, never as an error. One turn at a time.
/// </summary>
public sealed class KvSession : IAsyncDisposable
{
    readonly KvEngine engine;
    readonly SessionOptions options;
    readonly List<int> tokens;
    readonly long id;
    int busy;
    bool disposed;

    internal KvSession(KvEngine engine, long id, SessionOptions options, IEnumerable<int> tokens)
    {
        (this.engine, this.id, this.options) = (engine, id, options);
        this.tokens = [.. tokens];
    }

    /// <summary>Everything said so far, by both sides.</summary>
    public IReadOnlyList<int> Tokens
    {
        get
        {
            lock (tokens)
            {
                return [.. tokens];
            }
        }
    }

    /// <summary>One turn: the text is appended to the conversation, and what the model answers is too.</summary>
    /// <param name="text">what is said; the first turn gets what the tokenizer puts before a text</param>
    /// <param name="generate">how the answer is generated; scope, salt and retention are the session's</param>
    /// <param name="cancellation">ends the answer; what came until then stays in the conversation</param>
    /// <exception cref="InvalidRequestException">Another turn is running, or the conversation no longer fits the context.</exception>
    public IAsyncEnumerable<GeneratedPiece> GenerateAsync(string text, GenerateOptions? generate = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        return GenerateAsync(tokens.Count == 0 ? engine.Encode(text) : engine.EncodeContinuation(text), generate, cancellation);
    }

    /// <inheritdoc cref="GenerateAsync(string, GenerateOptions?, CancellationToken)"/>
    public async IAsyncEnumerable<GeneratedPiece> GenerateAsync(IReadOnlyList<int> promptTokens, GenerateOptions? generate = null,
        [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(promptTokens);
        Enter();
        try
        {
            int[] prompt;
            lock (tokens)
            {
                prompt = [.. tokens, .. promptTokens];
            }
            GenerateOptions turn = (generate ?? new()) with
            {
                Salt = options.Salt, Cache = options.Cache, Retention = [options.Retention],
            };
            turn.Validate();
            engine.Model.CheckPrompt(prompt, turn.MaxTokens);
            lock (tokens)
            {
                tokens.AddRange(promptTokens);
            }
            await foreach (GeneratedPiece piece in engine.Stream(prompt, turn, id, null, cancellation).ConfigureAwait(false))
            {
                if (piece.Token is { } token)
                {
                    lock (tokens)
                    {
                        tokens.Add(token);
                    }
                }
                yield return piece;
            }
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    /// <summary>A second conversation with the same past; what is cached of it serves both.</summary>
    public KvSession Fork()
    {
        KvSession fork = engine.OpenSession(options);
        // A private past can only be shared by a session of the same identity.
        return new(engine, options.Cache == CacheScope.Session ? id : fork.id, options, Tokens);
    }

    /// <summary>Takes the conversation back to its first <paramref name="count"/> tokens.</summary>
    /// <exception cref="InvalidRequestException">It has fewer, or a turn is running.</exception>
    public void RewindTo(int count)
    {
        Enter();
        try
        {
            lock (tokens)
            {
                if (count < 0 || count > tokens.Count)
                {
                    throw new InvalidRequestException($"The session has {tokens.Count} tokens; it cannot be rewound to {count}.");
                }
                tokens.RemoveRange(count, tokens.Count - count);
            }
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    /// <summary>
    /// Writes the conversation with its keys and values to a file, which replaces the one at <paramref name="path"/> in one
    /// step; <see cref="KvEngine.RestoreSessionAsync"/> goes on from there, in this process or another.
    /// </summary>
    /// <exception cref="InvalidRequestException">Nothing was said yet, a turn is running, or the file cannot be written.</exception>
    public async Task SaveAsync(string path, CancellationToken cancellation = default)
    {
        Enter();
        try
        {
            GenerateOptions scope = new() { Salt = options.Salt, Cache = options.Cache, Retention = [options.Retention] };
            await engine.SaveAsync(Tokens, path, scope, id, cancellation).ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    /// <summary>Forgets the conversation and what only it had cached. Returns the number of pages.</summary>
    public Task<int> ClearAsync()
    {
        RewindTo(0);
        return engine.Ask(() => engine.Model.Store.ClearSession(id));
    }

    /// <summary>Ends the session and forgets what only it had cached.</summary>
    public async ValueTask DisposeAsync()
    {
        if (!disposed)
        {
            disposed = true;
            try
            {
                await engine.Ask(() => engine.Model.Store.ClearSession(id)).ConfigureAwait(false);
            }
            catch (ObjectDisposedException)
            {
                // The engine is gone, and with it the pages.
            }
        }
    }

    void Enter()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (Interlocked.Exchange(ref busy, 1) != 0)
        {
            throw new InvalidRequestException("A turn of this session is running; a session takes one turn at a time. Fork it for two.");
        }
    }
}
