namespace KvCuda.Text;

/// <summary>
/// How the messages of a conversation become the tokens that a model goes on from: its chat template, and the tokenizer.
/// </summary>
/// <remarks>
/// <code>
/// ChatFormat format = ChatFormat.Load(folder, tokenizer) ?? ChatFormat.Continuation(tokenizer);
/// IReadOnlyList&lt;int&gt; prompt = format.Encode(format.Render([new ChatMessage("user", "Hello")]));
/// </code>
/// In what a template renders, text that spells a special token is that token, whoever wrote it, as in Hugging Face's library.
/// Safe for concurrent use.
/// </remarks>
public sealed class ChatFormat
{
    // What no template is: every message as it is; answers go on where the text ends, others begin on a line of their own.
    const string Plain = "{% for m in messages %}{% if not loop.first and m.role != 'assistant' %}{{ '\n' }}{% endif %}{{ m.content }}{% endfor %}";

    readonly Tokenizer tokenizer;
    readonly ChatTemplate template;
    readonly Lazy<bool> knowsTools;

    /// <param name="tokenizer">the model's</param>
    /// <param name="template">what the model was trained on; it writes the token that begins a text itself, if there is one</param>
    public ChatFormat(Tokenizer tokenizer, ChatTemplate template)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(template);
        (this.tokenizer, this.template) = (tokenizer, template);
        knowsTools = new(TellsOfTools);
    }

    ChatFormat(Tokenizer tokenizer) : this(tokenizer, new ChatTemplate(Plain, "plain continuation")) => IsContinuation = true;

    /// <summary>The format of a model folder; null if it has no chat template.</summary>
    /// <exception cref="ModelFormatException">The template or the file around it is malformed.</exception>
    /// <exception cref="UnsupportedModelException">The template uses something that KvCuda does not implement.</exception>
    public static ChatFormat? Load(string modelFolder, Tokenizer tokenizer) =>
        ChatTemplate.Load(modelFolder) is { } template ? new(tokenizer, template) : null;

    /// <summary>
    /// No format: the messages as they are, answers where the text ends and others after a line break, are one text that the model
    /// goes on with. For models that were never trained to converse.
    /// </summary>
    public static ChatFormat Continuation(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return new(tokenizer);
    }

    /// <summary>Whether the template tells the model of tools: tried with one.</summary>
    public bool KnowsTools => knowsTools.Value;

    bool TellsOfTools()
    {
        const string name = "kvcuda_probe";
        object function = new Dictionary<string, object?>
        {
            ["name"] = name, ["description"] = name, ["parameters"] = new Dictionary<string, object?> { ["type"] = "object", ["properties"] = new Dictionary<string, object?>() },
        };
        try
        {
            return template.Render([new("user", "Hello")], addGenerationPrompt: true, new Dictionary<string, object?>
            {
                ["tools"] = new List<object?> { new Dictionary<string, object?> { ["type"] = "function", ["function"] = function } },
            }).Contains(name, StringComparison.Ordinal);
        }
        catch (InvalidRequestException)
        {
            return false; // it refuses them
        }
    }

    /// <summary>Made by <see cref="Continuation"/>.</summary>
    public bool IsContinuation { get; }

    /// <summary>The text that the model is to go on from, so that what comes is the next answer.</summary>
    /// <param name="messages">the conversation, in order</param>
    /// <param name="context">what else is to be seen</param>
    /// <exception cref="InvalidRequestException">There are no messages, or the template refuses them.</exception>
    public string Render(IReadOnlyList<ChatMessage> messages, ChatContext? context = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        if (messages.Count == 0)
        {
            throw new InvalidRequestException("The conversation has no messages; give at least one.");
        }
        bool goesOn = context?.ContinueFinalMessage is true;
        string text = template.Render(With(messages, context?.Instructions), context?.AddGenerationPrompt is not false && !goesOn, context?.Variables);
        return goesOn ? UpToContent(text, messages[^1]) : text;
    }

    // What a template writes after the last message's text (the end of its turn) goes.
    static string UpToContent(string text, ChatMessage last)
    {
        string content = last.Content.Trim();
        int at = last.Role == "assistant" && content.Length > 0 ? text.LastIndexOf(content, StringComparison.Ordinal) : -1;
        if (at < 0)
        {
            throw new InvalidRequestException("The last message cannot be gone on with: it must be an assistant's, have text, and be written by the chat "
                + "template as it is.");
        }
        int end = at + content.Length, spaces = last.Content.Length - last.Content.TrimEnd().Length;
        return string.CompareOrdinal(text, end, last.Content, last.Content.Length - spaces, spaces) == 0 ? text[..(end + spaces)] : text[..end];
    }

    /// <summary>The tokens of what <see cref="Render"/> gives.</summary>
    /// <param name="rendered">the text</param>
    /// <param name="addSpecialTokens">add what the tokenizer puts around texts; null: only where no template writes it</param>
    public IReadOnlyList<int> Encode(string rendered, bool? addSpecialTokens = null) =>
        tokenizer.EncodeToIds(rendered, addSpecialTokens ?? IsContinuation ? SpecialTokens.ParseAndAdd : SpecialTokens.Parse);

    /// <summary>The tokens of a text that goes on where another ends: nothing is put before it.</summary>
    /// <param name="past">the text so far, whose tokens stay as they are</param>
    /// <param name="more">what comes then</param>
    public IReadOnlyList<int> EncodeMore(string past, string more)
    {
        ArgumentNullException.ThrowIfNull(past);
        ArgumentNullException.ThrowIfNull(more);
        // Some tokenizers begin every text in a way of their own (a space that is not there). After a bit of the past, the rest has
        // none of that, unless a token spans the seam: then it is encoded alone.
        int start = Math.Max(0, past.Length - 32);
        string seam = past[(start > 0 && char.IsLowSurrogate(past[start]) ? start + 1 : start)..];
        IReadOnlyList<int> before = tokenizer.EncodeToIds(seam, SpecialTokens.Parse), both = tokenizer.EncodeToIds(seam + more, SpecialTokens.Parse);
        return CommonLength(before, both) == before.Count ? [.. both.Skip(before.Count)] : tokenizer.EncodeToIds(more, SpecialTokens.Parse);
    }

    /// <summary>
    /// The tokens with which every conversation begins that begins with this system text, whatever is said then: what is worth
    /// computing before anybody comes.
    /// </summary>
    /// <param name="system">the system message</param>
    /// <param name="context">what else the template is to see</param>
    public IReadOnlyList<int> EncodeSystem(string system, ChatContext? context = null)
    {
        ArgumentNullException.ThrowIfNull(system);
        // Where the text that users write begins is the template's secret: it is where conversations begin to differ.
        IReadOnlyList<int>? shared = null;
        foreach (string said in (ReadOnlySpan<string>)["Tell", "what", "9", "\u00C9t\u00E9", "(x)"])
        {
            IReadOnlyList<int> tokens = Encode(Render([new("system", system), new("user", said)], context));
            shared = shared is null ? tokens : [.. tokens.Take(CommonLength(shared, tokens))];
        }
        return shared!;
    }

    internal static int CommonLength(IReadOnlyList<int> a, IReadOnlyList<int> b)
    {
        int length = 0;
        while (length < a.Count && length < b.Count && a[length] == b[length])
        {
            length++;
        }
        return length;
    }

    // Many templates know one system message, the first: instructions become part of it, after what is there.
    static IEnumerable<ChatMessage> With(IReadOnlyList<ChatMessage> messages, string? instructions)
    {
        if (string.IsNullOrEmpty(instructions))
        {
            return messages;
        }
        return messages[0].Role == "system"
            ? [new("system", $"{messages[0].Content}\n\n{instructions}"), .. messages.Skip(1)]
            : [new("system", instructions), .. messages];
    }
}

/// <summary>What one rendering of a conversation sees beside its messages.</summary>
public sealed record ChatContext
{
    /// <summary>Further text for the system message, which it follows, or is where there is none.</summary>
    public string? Instructions { get; init; }

    /// <summary>End with the beginning of the assistant's answer.</summary>
    public bool AddGenerationPrompt { get; init; } = true;

    /// <summary>The last message, an assistant's, is the beginning of the answer: the text ends where its own ends.</summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>What else the template knows: <c>enable_thinking</c>, ..; values as in <see cref="ChatTemplate.Render(IReadOnlyDictionary{string, object?}, TimeProvider?)"/>.</summary>
    public IReadOnlyDictionary<string, object?>? Variables { get; init; }
}
