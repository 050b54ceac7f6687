using KvCuda.Engine;

namespace KvCuda.Extensions;

/// <summary>The conversations that a client keeps, by id.</summary>
sealed class ConversationTable(KvChatClientOptions options) : IAsyncDisposable
{
    sealed class Entry(KvConversation conversation, string salt)
    {
        public KvConversation Conversation => conversation;

        public string Salt => salt;

        public int Turns { get; set; } // that run

        public long Used { get; set; } // timestamp
    }

    readonly Lock gate = new();
    readonly Dictionary<string, Entry> entries = new(StringComparer.Ordinal);
    bool disposed;

    /// <summary>Adds a conversation with a turn that is about to run.</summary>
    /// <returns>its id, which nobody can guess</returns>
    public async ValueTask<string> AddAsync(KvConversation conversation, string salt)
    {
        string id = $"conv_{Guid.NewGuid():N}";
        List<KvConversation> closed = [];
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(disposed, typeof(KvChatClient));
            TakeIdle(closed);
            while (entries.Count >= options.MaxConversations
                && entries.Where(pair => pair.Value.Turns == 0).OrderBy(pair => pair.Value.Used).Select(pair => pair.Key).FirstOrDefault() is { } oldest)
            {
                Take(oldest, closed);
            }
            if (entries.Count >= options.MaxConversations)
            {
                throw new InvalidRequestException($"{entries.Count} conversations have a turn running, as many as MaxConversations allows.");
            }
            entries[id] = new(conversation, salt) { Turns = 1, Used = options.TimeProvider.GetTimestamp() };
        }
        await CloseAll(closed).ConfigureAwait(false);
        return id;
    }

    /// <summary>Finds a conversation for a turn that is about to run.</summary>
    /// <exception cref="InvalidRequestException">It is not there, or another tenant's.</exception>
    public async ValueTask<KvConversation> EnterAsync(string id, string salt)
    {
        List<KvConversation> closed = [];
        KvConversation? found = null;
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(disposed, typeof(KvChatClient));
            TakeIdle(closed);
            if (entries.TryGetValue(id, out Entry? entry) && entry.Salt == salt)
            {
                entry.Turns++;
                found = entry.Conversation;
            }
        }
        await CloseAll(closed).ConfigureAwait(false);
        return found ?? throw new InvalidRequestException($"The conversation {id} is not known: "
            + (options.KeepConversations
                ? $"it was closed, had no turn for {options.ConversationIdleTime}, made room for others, or never began here."
                : "this client keeps none (KeepConversations is false).")
            + " Send the whole history without an id.");
    }

    /// <summary>A turn is over.</summary>
    public void Leave(string id)
    {
        lock (gate)
        {
            if (entries.TryGetValue(id, out Entry? entry))
            {
                entry.Turns--;
                entry.Used = options.TimeProvider.GetTimestamp();
            }
        }
    }

    /// <summary>Closes a conversation, with the turn that may be running.</summary>
    public async ValueTask<bool> CloseAsync(string id)
    {
        List<KvConversation> closed = [];
        lock (gate)
        {
            Take(id, closed);
        }
        await CloseAll(closed).ConfigureAwait(false);
        return closed.Count > 0;
    }

    public async ValueTask DisposeAsync()
    {
        List<KvConversation> closed = [];
        lock (gate)
        {
            disposed = true;
            foreach (string id in entries.Keys.ToList())
            {
                Take(id, closed);
            }
        }
        await CloseAll(closed).ConfigureAwait(false);
    }

    void TakeIdle(List<KvConversation> closed)
    {
        foreach ((string id, Entry entry) in entries.ToList())
        {
            if (entry.Turns == 0 && options.TimeProvider.GetElapsedTime(entry.Used) >= options.ConversationIdleTime)
            {
                Take(id, closed);
            }
        }
    }

    void Take(string id, List<KvConversation> closed)
    {
        if (entries.Remove(id, out Entry? entry))
        {
            closed.Add(entry.Conversation);
        }
    }

    static async ValueTask CloseAll(List<KvConversation> closed)
    {
        foreach (KvConversation conversation in closed)
        {
            await conversation.DisposeAsync().ConfigureAwait(false);
        }
    }
}
