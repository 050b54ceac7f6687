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

/// <summary>Who computes, and who may find it where a session shares with nobody else: itself and its forks.</summary>
/// <param name="Own">of this session; 0: none</param>
/// <param name="Family">of the session it was forked from, or its own; 0: none</param>
internal readonly record struct SessionId(long Own, long Family);

/// <summary>
/// A conversation across turns. Between turns its keys and values are cached, not held: what was evicted in the meantime is
/// computed again by the next turn and shows as tokens that were not cached, never as an error. One turn at a time; all
/// members are safe for concurrent use.
/// </summary>
public sealed class KvSession : IAsyncDisposable
{
    readonly KvEngine engine;
    readonly SessionOptions options;
    readonly List<int> tokens;
    readonly SessionId id;
    readonly StrongBox<int> family; // sessions of the same family that are not disposed
    readonly CancellationTokenSource disposal = new();
    int busy, disposed;

    internal KvSession(KvEngine engine, SessionId id, SessionOptions options, IEnumerable<int> tokens, StrongBox<int>? family = null)
    {
        (this.engine, this.id, this.options) = (engine, id, options);
        this.tokens = [.. tokens];
        this.family = family ?? new();
        Interlocked.Increment(ref this.family.Value);
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

    /// <summary>One turn: the text is appended to the conversation, and what the model answers is too, as it is read.</summary>
    /// <param name="text">what is said; the first turn gets what the tokenizer puts before a text</param>
    /// <param name="generate">how the answer is generated; scope, salt and retention are the session's</param>
    /// <param name="cancellation">ends the answer; what was read until then stays in the conversation</param>
    /// <exception cref="InvalidRequestException">Another turn is running, or the conversation no longer fits the context.</exception>
    /// <exception cref="KvBudgetException">The conversation can never fit; it is as it was before the turn.</exception>
    /// <exception cref="ObjectDisposedException">The session was disposed, before the turn or during it.</exception>
    public IAsyncEnumerable<GeneratedPiece> GenerateAsync(string text, GenerateOptions? generate = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        return GenerateAsync(Tokens.Count == 0 ? engine.Encode(text) : engine.EncodeContinuation(text), generate, cancellation);
    }

    /// <inheritdoc cref="GenerateAsync(string, GenerateOptions?, CancellationToken)"/>
    public async IAsyncEnumerable<GeneratedPiece> GenerateAsync(IReadOnlyList<int> promptTokens, GenerateOptions? generate = null,
        [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(promptTokens);
        Enter();
        try
        {
            using CancellationTokenSource ending = CancellationTokenSource.CreateLinkedTokenSource(cancellation, disposal.Token);
            int[] said = [.. promptTokens], prompt;
            lock (tokens)
            {
                prompt = [.. tokens, .. said];
            }
            GenerateOptions turn = engine.Admission.Check((generate ?? new()) with
            {
                Salt = options.Salt, Cache = options.Cache, Retention = [options.Retention],
            });
            engine.Admission.CheckPrompt(prompt, turn.MaxTokens, engine.StreamingOf(turn));
            lock (tokens)
            {
                tokens.AddRange(said);
            }
            ConfiguredCancelableAsyncEnumerable<GeneratedPiece>.Enumerator pieces =
                engine.Stream(prompt, turn, id, null, ending.Token).ConfigureAwait(false).GetAsyncEnumerator();
            bool began = false;
            try
            {
                while (await Next(pieces, began ? null : prompt.Length - said.Length, cancellation).ConfigureAwait(false))
                {
                    began = true;
                    if (pieces.Current.Token is { } token)
                    {
                        lock (tokens)
                        {
                            tokens.Add(token);
                        }
                    }
                    yield return pieces.Current;
                }
            }
            finally
            {
                await pieces.DisposeAsync();
            }
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    // before: tokens of the conversation before the turn, as long as nothing of its answer was read.
    async ValueTask<bool> Next(ConfiguredCancelableAsyncEnumerable<GeneratedPiece>.Enumerator pieces, int? before,
        CancellationToken cancellation)
    {
        try
        {
            return await pieces.MoveNextAsync();
        }
        catch (OperationCanceledException) when (Volatile.Read(ref disposed) != 0 && !cancellation.IsCancellationRequested)
        {
            throw new ObjectDisposedException(nameof(KvSession), "The session was disposed while this turn was running.");
        }
        catch (KvBudgetException) when (before is not null)
        {
            // Refused before it began: nothing was said.
            lock (tokens)
            {
                tokens.RemoveRange(before.Value, tokens.Count - before.Value);
            }
            throw;
        }
    }

    /// <summary>
    /// A second conversation with the same past; what is cached of it serves both. While a turn is running, that past ends
    /// with the last token that was read.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The session was disposed.</exception>
    public KvSession Fork()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref disposed) != 0, this);
        // A private past can only be found by its own family.
        return new(engine, engine.NewSession() with { Family = id.Family }, options, Tokens, family);
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
    /// <exception cref="InvalidRequestException">Nothing was said yet, a turn is running, the conversation has slid past the context, or the file cannot be written.</exception>
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
    /// <exception cref="InvalidRequestException">A turn is running.</exception>
    public Task<int> ClearAsync()
    {
        RewindTo(0);
        return engine.Ask(() => engine.Model.Store.ClearSession(id.Own));
    }

    /// <summary>Ends the session, with the turn that may be running, and forgets what only it had cached.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref disposed, 1) != 0)
        {
            return;
        }
        // The turn ends before the next step, and the errand runs before that step: nothing comes after the clearing.
        await disposal.CancelAsync().ConfigureAwait(false);
        bool last = Interlocked.Decrement(ref family.Value) == 0;
        try
        {
            await engine.Ask(() =>
            {
                engine.Model.Store.ClearSession(id.Own);
                if (last && options.Cache == CacheScope.Session)
                {
                    engine.Model.Store.ClearScope(engine.ScopeOf(new() { Salt = options.Salt, Cache = options.Cache }, id));
                }
                return true;
            }).ConfigureAwait(false);
        }
        catch (Exception error) when (error is ObjectDisposedException or KvCudaException)
        {
            // The engine is gone, and with it the pages.
        }
        disposal.Dispose();
    }

    void Enter()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref disposed) != 0, this);
        if (Interlocked.Exchange(ref busy, 1) != 0)
        {
            throw new InvalidRequestException("A turn of this session is running; a session takes one turn at a time. Fork it for two.");
        }
    }
}
