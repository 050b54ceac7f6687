using KvCuda.KvStore;
using KvCuda.Text;

namespace KvCuda.Engine;

// Conversations in messages, over sessions.
public sealed partial class KvEngine
{
    readonly Lock formatLock = new();
    ChatFormat? chatFormat;

    /// <summary>The model folder; null if the engine was not loaded from one.</summary>
    public string? ModelFolder { get; private init; }

    /// <summary>
    /// How the model's folder says that conversations are written; read when first asked for. Null: it has no chat template, or
    /// no tokenizer.
    /// </summary>
    /// <exception cref="ModelFormatException">The template or the file around it is malformed.</exception>
    /// <exception cref="UnsupportedModelException">The template uses something that KvCuda does not implement.</exception>
    public ChatFormat? LoadChatFormat()
    {
        lock (formatLock)
        {
            return chatFormat ??= ModelFolder is null || Tokenizer is null ? null : ChatFormat.Load(ModelFolder, Tokenizer);
        }
    }

    /// <summary>Opens a conversation in messages.</summary>
    /// <param name="format">null: the model folder's</param>
    /// <param name="options">how it is kept between turns</param>
    /// <exception cref="InvalidRequestException">No format is given and the model folder has no chat template.</exception>
    /// <inheritdoc cref="LoadChatFormat"/>
    public KvConversation OpenConversation(ChatFormat? format = null, SessionOptions? options = null) =>
        new(OpenSession(options), MaxContext, format ?? RequireChatFormat(), [], "");

    /// <summary>Opens a conversation where <see cref="KvConversation.SaveAsync"/> left it.</summary>
    /// <param name="path">the file of its messages; keys and values are read from the one beside it, or computed again if that is gone</param>
    /// <param name="format">null: the model folder's</param>
    /// <param name="options">how it is kept between turns</param>
    /// <exception cref="InvalidRequestException">A file cannot be read, or the model has no chat template.</exception>
    /// <exception cref="KvSnapshotException">
    /// The keys and values are damaged, another model's or a later version's; nothing has changed. Without that file the conversation
    /// is restored all the same.
    /// </exception>
    public async Task<KvConversation> RestoreConversationAsync(string path, ChatFormat? format = null, SessionOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        format ??= RequireChatFormat();
        ConversationFile file = ConversationFile.Read(path);
        string keys = ConversationFile.KeysBeside(path);
        if (!File.Exists(keys))
        {
            return new(OpenSession(options), MaxContext, format, file.Messages, "");
        }
        // The snapshot is this model's, or refused; that it belongs to these messages is known from its tokens.
        KvSession session = await RestoreSessionAsync(keys, options).ConfigureAwait(false);
        return new(session, MaxContext, format, file.Messages, session.Tokens.SequenceEqual(file.Tokens) ? file.Text : null);
    }

    /// <summary>The messages alone of what <see cref="KvConversation.SaveAsync"/> wrote; their tokens are computed with the next turn.</summary>
    internal KvConversation RestoreMessages(string path, ChatFormat format) => new(OpenSession(), MaxContext, format, ConversationFile.Read(path).Messages, "");

    ChatFormat RequireChatFormat() => LoadChatFormat() ?? throw (Tokenizer is null ? NoTokenizer() : new InvalidRequestException(
        $"The model folder {ModelFolder ?? "(none)"} has no chat template (chat_template.jinja, or chat_template in "
        + "tokenizer_config.json), so how it writes conversations is not known. Give one, new ChatFormat(tokenizer, template); "
        + "ChatFormat.Continuation(tokenizer) treats the messages as one running text."));
}
