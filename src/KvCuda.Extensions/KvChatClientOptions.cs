using KvCuda.Engine;
using KvCuda.Text;

namespace KvCuda.Extensions;

/// <summary>How a <see cref="KvChatClient"/> answers. The defaults suit a caller that sends the whole history every time.</summary>
public sealed record KvChatClientOptions
{
    /// <summary>What the model is called in responses, metrics and traces; null: the name of its folder.</summary>
    public string? ModelId { get; init; }

    /// <summary>How messages become tokens; null: by the chat template of the model's folder. Not for configuration files.</summary>
    public ChatFormat? Format { get; init; }

    /// <summary>
    /// What requests that say nothing else are generated with: at most 1024 tokens, the likeliest ones. Salt, scope, retention and
    /// what happens at the end of the context are only said here, or by a request's own <c>RawRepresentationFactory</c>.
    /// </summary>
    public GenerateOptions Generate { get; init; } = new() { MaxTokens = 1024 };

    /// <summary>What the chat template sees beside the messages: <c>enable_thinking</c>, .. Not for configuration files.</summary>
    public IReadOnlyDictionary<string, object?>? TemplateVariables { get; init; }

    /// <summary>
    /// A request without a conversation's id begins one, and the response has its id: then the next request is to have the id and
    /// only the messages that are new. Without it responses have no id, and callers send the whole history, whose tokens the
    /// cache mostly has.
    /// </summary>
    public bool KeepConversations { get; init; }

    /// <summary>Most conversations that are kept; then the one used least recently is closed.</summary>
    public int MaxConversations { get; init; } = 1024;

    /// <summary>How long a conversation is kept without a turn.</summary>
    public TimeSpan ConversationIdleTime { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>How much the keys and values of conversations are worth between turns, 0 to 100.</summary>
    public int ConversationPriority { get; init; } = 35;

    /// <summary>
    /// Leave out what a request asks for and the engine cannot do (tools, JSON, frequency and presence penalties, another
    /// model), where the default is one error that names it. For callers who ask for such things of every client.
    /// </summary>
    public bool IgnoreUnsupportedOptions { get; init; }

    /// <summary>The clock of <see cref="ConversationIdleTime"/> and of response times.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Finds what is out of range.</summary>
    /// <exception cref="InvalidRequestException">An option is out of range; the message names it.</exception>
    public void Validate()
    {
        Generate.Validate();
        Require(MaxConversations >= 1, $"MaxConversations is {MaxConversations}; it must be at least 1.");
        Require(ConversationIdleTime > TimeSpan.Zero, $"ConversationIdleTime is {ConversationIdleTime}; it must be positive.");
        Require(ConversationPriority is >= 0 and <= 100, $"ConversationPriority is {ConversationPriority}; it must be from 0 to 100.");
    }

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidRequestException(message);
        }
    }
}
