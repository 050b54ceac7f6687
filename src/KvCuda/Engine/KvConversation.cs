using System.Runtime.CompilerServices;
using System.Text;
using KvCuda.Text;

namespace KvCuda.Engine;

/// <summary>
/// A conversation in messages over a <see cref="KvSession"/>: each turn computes only what is new in it. One turn at a time; all
/// members are safe for concurrent use.
/// </summary>
/// <remarks>
/// <code>
/// await using KvConversation talk = engine.OpenConversation();
/// await foreach (GeneratedPiece piece in talk.SayAsync("What is a page?"))
///     Console.Write(piece.Text);
/// </code>
/// The tokens that the model chose stay the past of the conversation as they are. Only where the template writes an earlier
/// answer in another way than it was given (without its thoughts, say) is it computed again from there.
/// </remarks>
public sealed class KvConversation : IAsyncDisposable
{
    // Where a turn began: so many messages and tokens, and the length of their text.
    readonly record struct Start(int Messages, int Tokens, int TextLength);

    readonly KvSession session;
    readonly int maxContext;
    readonly List<ChatMessage> messages;
    readonly Stack<Start> starts = new();
    string text;             // what the session's tokens spell,
    bool exact;              // if it is known
    int busy;

    /// <param name="session">its tokens</param>
    /// <param name="maxContext">most tokens of full attention</param>
    /// <param name="format">how messages become tokens</param>
    /// <param name="messages">said so far</param>
    /// <param name="text">what the session's tokens spell; null: not known</param>
    internal KvConversation(KvSession session, int maxContext, ChatFormat format, IEnumerable<ChatMessage> messages, string? text)
    {
        (this.session, this.maxContext, Format) = (session, maxContext, format);
        this.messages = [.. messages];
        (this.text, exact) = (text ?? "", text is not null);
    }

    /// <summary>How its messages become tokens.</summary>
    public ChatFormat Format { get; }

    /// <summary>What was said so far, answers included.</summary>
    public IReadOnlyList<ChatMessage> Messages
    {
        get
        {
            lock (messages)
            {
                return [.. messages];
            }
        }
    }

    /// <summary>Tokens of the past that the next turn goes on from.</summary>
    public int TokenCount => session.Tokens.Count;

    /// <summary>One turn: a user's message, and the model's answer to it.</summary>
    /// <inheritdoc cref="SayAsync(IReadOnlyList{ChatMessage}, GenerateOptions?, ChatContext?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedPiece> SayAsync(string text, GenerateOptions? generate = null, ChatContext? context = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        return SayAsync([new ChatMessage("user", text)], generate, context, cancellation);
    }

    /// <summary>
    /// One turn: the messages become part of the conversation, and what is read of the answer does too. A turn that fails, or that
    /// ends before any of its answer was read, never was.
    /// </summary>
    /// <param name="said">what is new since the last answer</param>
    /// <param name="generate">how the answer is generated; scope, salt and retention are the session's</param>
    /// <param name="context">what this turn's rendering sees beside the messages</param>
    /// <param name="cancellation">ends the answer; breaking off the enumeration does too</param>
    /// <exception cref="InvalidRequestException">Another turn is running, the template refuses the messages, or they no longer fit the context.</exception>
    /// <exception cref="KvBudgetException">The conversation can never fit into the budget.</exception>
    /// <exception cref="ObjectDisposedException">The conversation was disposed, before the turn or during it.</exception>
    public async IAsyncEnumerable<GeneratedPiece> SayAsync(IReadOnlyList<ChatMessage> said, GenerateOptions? generate = null,
        ChatContext? context = null, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(said);
        Enter();
        try
        {
            IReadOnlyList<ChatMessage> all = [.. Messages, .. said];
            string rendered = Format.Render(all, context);
            IReadOnlyList<int> more = Continue(rendered);
            Start start = new(all.Count - said.Count, session.Tokens.Count, text.Length);
            bool known = exact, ended = false, failed = false;
            StringBuilder answer = new();
            exact = false; // until the turn has ended as it should
            IAsyncEnumerator<GeneratedPiece> pieces = session.GenerateAsync(more, generate, cancellation).GetAsyncEnumerator(CancellationToken.None);
            try
            {
                while (await Next().ConfigureAwait(false))
                {
                    answer.Append(pieces.Current.Text);
                    if (pieces.Current.Result is { } result)
                    {
                        ended = true;
                        Commit(all, result.Text);
                        // Past a stop text the session has tokens that the text has not.
                        exact = result.FinishReason != FinishReason.StopText;
                        text = rendered + result.Text;
                        if (known)
                        {
                            starts.Push(start);
                        }
                    }
                    yield return pieces.Current;
                }
            }
            finally
            {
                await pieces.DisposeAsync().ConfigureAwait(false);
                if (!ended)
                {
                    Break(all, failed ? "" : answer.ToString(), start, known);
                }
            }

            async ValueTask<bool> Next()
            {
                try
                {
                    return await pieces.MoveNextAsync().ConfigureAwait(false);
                }
                catch (Exception error) when (error is not OperationCanceledException)
                {
                    failed = true;
                    throw;
                }
            }
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    // A turn did not come to its end: what was read of the answer stays; if nothing was, the turn never was.
    void Break(IReadOnlyList<ChatMessage> all, string answer, Start start, bool known)
    {
        if (answer.Length > 0)
        {
            Commit(all, answer);
            starts.Clear();
            return;
        }
        try
        {
            session.RewindTo(Math.Min(start.Tokens, session.Tokens.Count));
            exact = known;
        }
        catch (ObjectDisposedException)
        {
            // The session is gone, and with it its tokens.
        }
    }

    // Takes the session back to what it shares with a text, and returns the tokens that come then.
    IReadOnlyList<int> Continue(string rendered)
    {
        int have = session.Tokens.Count;
        if (exact && have > 0 && rendered.Length > text.Length && rendered.StartsWith(text, StringComparison.Ordinal))
        {
            return Format.EncodeMore(text, rendered[text.Length..]);
        }
        IReadOnlyList<int> whole = Format.Encode(rendered);
        int shared = Math.Max(0, Math.Min(ChatFormat.CommonLength(session.Tokens, whole), whole.Count - 1));
        session.RewindTo(shared);
        starts.Clear();
        text = "";
        exact = have == 0;
        return [.. whole.Skip(shared)];
    }

    void Commit(IReadOnlyList<ChatMessage> all, string answer)
    {
        lock (messages)
        {
            messages.Clear();
            messages.AddRange(all);
            messages.Add(new("assistant", answer));
        }
    }

    /// <summary>Takes the conversation back to its first messages.</summary>
    /// <exception cref="InvalidRequestException">It has fewer, or a turn is running.</exception>
    public void RewindTo(int messageCount)
    {
        Enter();
        try
        {
            lock (messages)
            {
                if (messageCount < 0 || messageCount > messages.Count)
                {
                    throw new InvalidRequestException($"The conversation has {messages.Count} messages; it cannot be rewound to {messageCount}.");
                }
                if (messageCount == messages.Count)
                {
                    return;
                }
                messages.RemoveRange(messageCount, messages.Count - messageCount);
            }
            exact = false;
            while (starts.TryPeek(out Start start) && start.Messages >= messageCount)
            {
                starts.Pop();
                if (start.Messages == messageCount)
                {
                    session.RewindTo(start.Tokens);
                    (text, exact) = (text[..start.TextLength], true);
                }
            }
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    /// <summary>
    /// Gives the conversation another system message, or none: null. What comes after it is computed again with the next turn.
    /// </summary>
    /// <exception cref="InvalidRequestException">A turn is running.</exception>
    public void SetSystem(string? system)
    {
        Enter();
        try
        {
            lock (messages)
            {
                if (messages is [{ Role: "system" }, ..])
                {
                    messages.RemoveAt(0);
                }
                if (system is not null)
                {
                    messages.Insert(0, new("system", system));
                }
            }
            exact = false;
            starts.Clear();
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    /// <summary>
    /// Writes the messages to <paramref name="path"/> as JSON, and their keys and values beside it, with <c>.kv</c> after the name.
    /// Each file is replaced in one step. <see cref="KvEngine.RestoreConversationAsync"/> reads them.
    /// </summary>
    /// <returns>
    /// Whether keys and values were written: not before the first answer, and not when the conversation has slid past the context.
    /// The messages alone are enough; their tokens are computed again then.
    /// </returns>
    /// <exception cref="InvalidRequestException">A turn is running, or a file cannot be written.</exception>
    public async Task<bool> SaveAsync(string path, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        Enter();
        try
        {
            bool withKeys = session.Tokens.Count > 0 && session.Tokens.Count < maxContext;
            if (withKeys)
            {
                await session.SaveAsync(ConversationFile.KeysBeside(path), cancellation).ConfigureAwait(false);
            }
            new ConversationFile(Messages, withKeys && exact ? text : null, withKeys ? session.Tokens : []).Write(path);
            if (!withKeys)
            {
                ConversationFile.DeleteKeysBeside(path); // an earlier conversation's
            }
            return withKeys;
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }
    }

    /// <summary>Ends the conversation, with the turn that may be running, and forgets what only it had cached.</summary>
    public ValueTask DisposeAsync() => session.DisposeAsync();

    void Enter()
    {
        if (Interlocked.Exchange(ref busy, 1) != 0)
        {
            throw new InvalidRequestException("A turn of this conversation is running; it takes one at a time.");
        }
    }
}
