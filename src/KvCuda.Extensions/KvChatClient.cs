using System.Runtime.CompilerServices;
using KvCuda.Engine;
using KvCuda.Text;
using Microsoft.Extensions.AI;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace KvCuda.Extensions;

/// <summary>
/// An engine as an <see cref="IChatClient"/>: messages by the model's chat template, streamed, with usage; conversations that compute
/// only what is new; metrics and traces. Safe for concurrent use: all requests run in one batch.
/// </summary>
/// <remarks>
/// Enumerating is streaming; breaking off, and the cancellation token, end the request at the engine's next step.
/// <see cref="ChatOptions.RawRepresentationFactory"/> may give <see cref="GenerateOptions"/> to begin with (salt, scope, retention,
/// sliding, log-probabilities); every option that the request has itself goes before it. The <c>RawRepresentation</c> of an update is its
/// <see cref="GeneratedPiece"/>, that of a response its <see cref="GenerationResult"/>.
/// </remarks>
public sealed class KvChatClient : IChatClient, IAsyncDisposable
{
    /// <summary>Who provides the answers, in metadata, metrics and traces.</summary>
    public const string ProviderName = "kvcuda";

    readonly Func<CancellationToken, ValueTask<(KvEngine Engine, ChatFormat Format)>> source;
    readonly KvChatClientOptions options;
    readonly ConversationTable conversations;
    readonly ChatTelemetry telemetry;
    readonly string model;
    volatile KvEngine? engine;

    /// <inheritdoc cref="KvEngineExtensions.AsChatClient"/>
    public KvChatClient(KvEngine engine, KvChatClientOptions? options = null)
        : this(Ready(engine, options ??= new()), options, options.ModelId ?? NameOf(engine.ModelFolder), ChatTelemetry.Default)
    {
        this.engine = engine;
    }

    /// <param name="source">the engine when it is loaded, and how it converses</param>
    /// <param name="options">how to answer</param>
    /// <param name="model">what it is called</param>
    /// <param name="telemetry">who counts</param>
    internal KvChatClient(Func<CancellationToken, ValueTask<(KvEngine Engine, ChatFormat Format)>> source, KvChatClientOptions options,
        string model, ChatTelemetry telemetry)
    {
        options.Validate();
        (this.source, this.options, this.model, this.telemetry) = (source, options, model, telemetry);
        conversations = new(options);
        Metadata = new(ProviderName, providerUri: null, model);
    }

    /// <summary>The provider, <see cref="ProviderName"/>, and what the model is called.</summary>
    public ChatClientMetadata Metadata { get; }

    /// <summary>The whole answer.</summary>
    /// <param name="messages">the whole history; with a conversation's id, what is new since its last answer</param>
    /// <param name="options">how to answer</param>
    /// <param name="cancellationToken">ends the request</param>
    /// <exception cref="InvalidRequestException">
    /// The request asks for what the engine cannot do, an option is out of range, the template refuses the messages, they do not fit the context,
    /// or the conversation is not known or has a turn running.
    /// </exception>
    /// <exception cref="KvBudgetException">The request at its longest can never fit into the budget.</exception>
    /// <exception cref="ObjectDisposedException">The engine or the client was disposed.</exception>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        GenerationResult? result = null;
        ChatResponse response = await Observe(messages, options, streaming: false, found => result = found, cancellationToken)
            .ToChatResponseAsync(cancellationToken).ConfigureAwait(false);
        response.RawRepresentation = result;
        return response;
    }

    /// <summary>The answer in pieces, as they become certain; the last update has the usage and the finish reason.</summary>
    /// <inheritdoc cref="GetResponseAsync"/>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        return Observe(messages, options, streaming: true, _ => { }, cancellationToken);
    }

    /// <summary>This client, its <see cref="ChatClientMetadata"/>, or the <see cref="KvEngine"/> once it is loaded.</summary>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? Metadata
            : serviceType == typeof(KvEngine) ? engine
            : serviceType.IsInstanceOfType(this) ? this
            : null;
    }

    /// <summary>Forgets a conversation before it has been idle for long enough, with the turn that may be running.</summary>
    /// <returns>whether it was there</returns>
    public ValueTask<bool> CloseConversationAsync(string conversationId)
    {
        ArgumentNullException.ThrowIfNull(conversationId);
        return conversations.CloseAsync(conversationId);
    }

    /// <summary>Ends the conversations; the engine goes on.</summary>
    public ValueTask DisposeAsync() => conversations.DisposeAsync();

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    // What is answered, measured.
    async IAsyncEnumerable<ChatResponseUpdate> Observe(IEnumerable<ChatMessage> messages, ChatOptions? asked, bool streaming,
        Action<GenerationResult> ended, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using ChatOperation operation = telemetry.Begin(model, asked, streaming);
        IAsyncEnumerator<ChatResponseUpdate> updates = Answer(messages, asked, operation, ended, cancellation).GetAsyncEnumerator(CancellationToken.None);
        try
        {
            while (true)
            {
                try
                {
                    cancellation.ThrowIfCancellationRequested(); // what the engine was faster with than the caller is not told any more
                    if (!await updates.MoveNextAsync().ConfigureAwait(false))
                    {
                        break;
                    }
                }
                catch (Exception error)
                {
                    operation.Fail(error);
                    throw;
                }
                operation.Update();
                yield return updates.Current;
            }
        }
        finally
        {
            await updates.DisposeAsync().ConfigureAwait(false);
        }
    }

    async IAsyncEnumerable<ChatResponseUpdate> Answer(IEnumerable<ChatMessage> messages, ChatOptions? asked, ChatOperation operation,
        Action<GenerationResult> ended, [EnumeratorCancellation] CancellationToken cancellation)
    {
        ChatRequest request = ChatRequest.Of(messages, asked, options, this, model);
        (engine, ChatFormat format) = await source(cancellation).ConfigureAwait(false);
        if (request.Tools.Count > 0 && !format.KnowsTools && !options.IgnoreUnsupportedOptions)
        {
            throw new InvalidRequestException($"{request.Tools.Count} tools were given, but the chat template of {model} does not tell the model of tools.");
        }
        string responseId = $"resp_{Guid.NewGuid():N}", messageId = $"msg_{Guid.NewGuid():N}";
        DateTimeOffset created = options.TimeProvider.GetUtcNow();
        string? conversationId = asked?.ConversationId;
        bool begins = conversationId is null && options.KeepConversations, told = false;
        KvConversation? conversation = null;
        if (begins)
        {
            conversation = engine.OpenConversation(format, new()
            {
                Salt = request.Generate.Salt, Cache = request.Generate.Cache, Priority = options.ConversationPriority,
                IdleTimeToLive = options.ConversationIdleTime,
            });
            try
            {
                conversationId = await conversations.AddAsync(conversation, request.Generate.Salt).ConfigureAwait(false);
            }
            catch
            {
                await conversation.DisposeAsync().ConfigureAwait(false);
                throw;
            }
        }
        else if (conversationId is not null)
        {
            conversation = await conversations.EnterAsync(conversationId, request.Generate.Salt).ConfigureAwait(false);
        }
        operation.Identify(responseId, conversationId);
        try
        {
            string? rendered = conversation is null ? format.Render(request.Messages, request.Context) : null;
            AnswerParser parser = new(request.Tools, thinking: rendered.AsSpan().TrimEnd().EndsWith("<think>"));
            IAsyncEnumerable<GeneratedPiece> pieces = conversation is not null
                ? conversation.SayAsync(request.Messages, request.Generate, request.Context, cancellation)
                : engine.GenerateAsync(format.Encode(rendered!), request.Generate, cancellation);
            await foreach (GeneratedPiece piece in pieces.ConfigureAwait(false))
            {
                if (piece.Result is { } result)
                {
                    operation.End(result);
                    ended(result);
                }
                else if (piece.Text.Length == 0)
                {
                    continue; // half of a character, or what may become a stop text
                }
                List<AnswerPart> parts = piece.Result is null ? parser.Add(piece.Text) : [.. parser.Add(piece.Text), .. parser.End()];
                if (parts.Count == 0 && piece.Result is null)
                {
                    continue; // what may become a call
                }
                told = true;
                yield return Update(piece, parts, parser.Calls > 0, responseId, messageId, conversationId, created);
            }
        }
        finally
        {
            if (conversationId is not null)
            {
                conversations.Leave(conversationId);
                if (begins && !told)
                {
                    await conversations.CloseAsync(conversationId).ConfigureAwait(false); // nobody knows its id
                }
            }
        }
    }

    ChatResponseUpdate Update(GeneratedPiece piece, List<AnswerPart> parts, bool calls, string responseId, string messageId, string? conversationId, DateTimeOffset created)
    {
        ChatResponseUpdate update = new()
        {
            Role = ChatRole.Assistant, ResponseId = responseId, MessageId = messageId, ConversationId = conversationId, ModelId = model,
            CreatedAt = created, RawRepresentation = piece,
        };
        foreach (AnswerPart part in parts)
        {
            update.Contents.Add(part.Call is not null ? Call(part) : part.IsReasoning ? new TextReasoningContent(part.Text) : new TextContent(part.Text));
        }
        if (piece.Result is { } result)
        {
            update.Contents.Add(new UsageContent(Usage(result)));
            update.FinishReason = result.FinishReason is FinishReason.EndOfSequence or FinishReason.StopText
                ? calls ? ChatFinishReason.ToolCalls : ChatFinishReason.Stop : ChatFinishReason.Length;
        }
        return update;
    }

    static FunctionCallContent Call(AnswerPart part)
    {
        string id = $"call_{Guid.NewGuid():N}";
        try
        {
            using System.Text.Json.JsonDocument arguments = System.Text.Json.JsonDocument.Parse(part.Arguments);
            return new(id, part.Call!, arguments.RootElement.EnumerateObject().ToDictionary(argument => argument.Name, argument => (object?)argument.Value.Clone(), StringComparer.Ordinal));
        }
        catch (Exception error) when (error is System.Text.Json.JsonException or InvalidOperationException or ArgumentException)
        {
            return new(id, part.Call!) { Exception = error }; // it is the caller's to say so to the model
        }
    }

    // Everything here can be summed over calls, as the abstractions ask.
    static UsageDetails Usage(GenerationResult result) => new()
    {
        InputTokenCount = result.PromptTokens,
        CachedInputTokenCount = result.CachedTokens,
        OutputTokenCount = result.GeneratedTokens,
        TotalTokenCount = result.PromptTokens + result.GeneratedTokens,
        AdditionalCounts = new()
        {
            ["kvcuda.computed_input_tokens"] = result.PromptTokens - result.CachedTokens,
            ["kvcuda.queue_microseconds"] = (long)result.QueueTime.TotalMicroseconds,
            ["kvcuda.time_to_first_token_microseconds"] = (long)result.TimeToFirstToken.TotalMicroseconds,
            ["kvcuda.duration_microseconds"] = (long)result.Duration.TotalMicroseconds,
        },
    };

    // Whatever is wrong with the model's template is told now, not with the first request.
    static Func<CancellationToken, ValueTask<(KvEngine, ChatFormat)>> Ready(KvEngine engine, KvChatClientOptions options)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ChatFormat format = FormatOf(engine, options);
        return _ => ValueTask.FromResult((engine, format));
    }

    internal static ChatFormat FormatOf(KvEngine engine, KvChatClientOptions options)
    {
        if (engine.Tokenizer is null)
        {
            throw new InvalidRequestException($"The model folder {engine.ModelFolder} has no tokenizer.json; a chat client needs one.");
        }
        return options.Format ?? engine.LoadChatFormat() ?? throw new InvalidRequestException(
            $"The model folder {engine.ModelFolder} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json), so how "
            + "the model writes conversations is not known, and a guess would give nonsense. Give KvChatClientOptions.Format one: new ChatFormat(tokenizer, "
            + "ChatTemplate.LoadFile(file, folder)), or ChatFormat.Continuation(tokenizer), with which the messages are one running text.");
    }

    internal static string NameOf(string? folder) =>
        folder is null ? "kvcuda" : Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
}
