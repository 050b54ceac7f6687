using System.Text;
using System.Text.Json;
using KvCuda.Text.Files;
using KvCuda.Text.Jinja;

namespace KvCuda.Text;

/// <summary>One message of a conversation.</summary>
/// <param name="Role">"system", "user", "assistant", "tool", or what else the model knows.</param>
/// <param name="Content">Its text.</param>
public sealed record ChatMessage(string Role, string Content)
{
    /// <summary>
    /// What else the template sees of it (<c>name</c>, <c>tool_calls</c>, <c>reasoning_content</c>), by name; an entry <c>content</c> is seen instead of
    /// the text. Values as in <see cref="ChatTemplate.Render(IReadOnlyDictionary{string, object?}, TimeProvider?)"/>.
    /// </summary>
    public IReadOnlyDictionary<string, object?>? More { get; init; }

    internal Dictionary<string, object?> ToTemplate()
    {
        Dictionary<string, object?> all = new(StringComparer.Ordinal) { ["role"] = Role, ["content"] = Content };
        foreach ((string name, object? value) in More ?? new Dictionary<string, object?>())
        {
            all[name] = value;
        }
        return all;
    }
}

/// <summary>
/// The template that turns a conversation into the text a model was trained on: the Jinja that model folders carry, run in a
/// sandbox whose time and output are bounded.
/// </summary>
/// <remarks>
/// <code>
/// ChatTemplate? template = ChatTemplate.Load("weights/demo");
/// string prompt = template.Render([new ChatMessage("user", "Hello")], addGenerationPrompt: true);
/// IReadOnlyList&lt;int&gt; ids = tokenizer.EncodeToIds(prompt, SpecialTokens.Parse);   // the template has written the BOS itself
/// </code>
/// Rendering is safe for concurrent use. Templates see what they see in Hugging Face's library: <c>messages</c>, <c>tools</c>,
/// <c>documents</c>, <c>add_generation_prompt</c>, the special tokens (<c>bos_token</c>, ..), whatever else the caller gives
/// (<c>enable_thinking</c>, ..), <c>raise_exception</c> and <c>strftime_now</c>.
/// </remarks>
public sealed class ChatTemplate
{
    const int MaxSourceChars = 1 << 20;

    readonly List<Statement> body;
    readonly TemplateErrors errors;
    readonly Dictionary<string, object?> specialTokens;

    /// <summary>Reads a template.</summary>
    /// <param name="source">Jinja.</param>
    /// <param name="name">What to call it in errors.</param>
    /// <param name="specialTokens">Names such as <c>bos_token</c>, with the token's text.</param>
    /// <exception cref="ModelFormatException">It is not well formed; the message names the line.</exception>
    /// <exception cref="UnsupportedModelException">It uses something that KvCuda does not implement; the message names the line.</exception>
    public ChatTemplate(string source, string name = "chat template", IReadOnlyDictionary<string, string>? specialTokens = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        Source = source;
        errors = new TemplateErrors(name);
        if (source.Length > MaxSourceChars)
        {
            throw new ModelFormatException($"{name}: {source.Length} characters; a template has at most {MaxSourceChars}.");
        }

        body = Parser.Parse(source, errors);
        this.specialTokens = (specialTokens ?? new Dictionary<string, string>())
            .ToDictionary(t => t.Key, t => (object?)t.Value, StringComparer.Ordinal);
    }

    /// <summary>The template as it was read.</summary>
    public string Source { get; }

    /// <summary>
    /// The template of a model folder: <c>additional_chat_templates/VARIANT.jinja</c>, <c>chat_template.jinja</c>,
    /// <c>chat_template.json</c>, or <c>chat_template</c> of <c>tokenizer_config.json</c> (a text, or a list of named ones), the first
    /// that is there; null if there is none.
    /// </summary>
    /// <param name="modelFolder">The folder.</param>
    /// <param name="variant">Which of several: "default", "tool_use", "rag". One that is not there means the default.</param>
    /// <exception cref="ModelFormatException">A file is malformed, or there are named templates but no default one.</exception>
    public static ChatTemplate? Load(string modelFolder, string variant = "default")
    {
        SortedDictionary<string, (string Source, string Place)> found = ChatTemplateFiles.Read(modelFolder);
        if (found.Count == 0)
        {
            return null;
        }
        if (!found.TryGetValue(variant, out (string Source, string Place) template) && !found.TryGetValue("default", out template))
        {
            throw new ModelFormatException($"{modelFolder}: there are the chat templates {string.Join(", ", found.Keys)}, but neither "
                + $"\"{variant}\" nor \"default\".");
        }
        return new ChatTemplate(template.Source, template.Place, FolderTokens.Read(modelFolder).Named);
    }

    /// <summary>A template of one's own for a model folder, whose special tokens it sees.</summary>
    /// <param name="templateFile">A file with Jinja.</param>
    /// <param name="modelFolder">The folder.</param>
    /// <exception cref="ModelFormatException">A file cannot be read, or is not well formed.</exception>
    /// <exception cref="UnsupportedModelException">It uses something that KvCuda does not implement; the message names the line.</exception>
    public static ChatTemplate LoadFile(string templateFile, string modelFolder)
    {
        return new ChatTemplate(FolderJson.ReadText(templateFile), templateFile, FolderTokens.Read(modelFolder).Named);
    }

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">In order.</param>
    /// <param name="addGenerationPrompt">End with the beginning of the assistant's answer.</param>
    /// <param name="variables">Anything else the template is to see.</param>
    /// <exception cref="InvalidRequestException">The template refuses the conversation, or does more than it may.</exception>
    public string Render(
        IEnumerable<ChatMessage> messages, bool addGenerationPrompt = true, IReadOnlyDictionary<string, object?>? variables = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var all = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["tools"] = null,
            ["documents"] = null,
            ["messages"] = messages.Select(message => message.ToTemplate()).ToList(),
            ["add_generation_prompt"] = addGenerationPrompt,
        };
        foreach ((string name, object? value) in variables ?? new Dictionary<string, object?>())
        {
            all[name] = value;
        }

        return Render(all);
    }

    /// <summary>Renders with exactly these variables, and the special tokens.</summary>
    /// <param name="variables">
    /// Strings, booleans, numbers, lists, dictionaries with string keys, <see cref="JsonElement"/>, and these within each other.
    /// </param>
    /// <param name="clock">What <c>strftime_now</c> reads; the system's clock if null.</param>
    /// <exception cref="InvalidRequestException">The template refuses the conversation, or does more than it may.</exception>
    public string Render(IReadOnlyDictionary<string, object?> variables, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(variables);
        var context = new RenderContext(errors, clock ?? TimeProvider.System);
        foreach ((string name, object? value) in specialTokens)
        {
            context.Scope.Set(name, value);
        }

        foreach ((string name, object? value) in variables)
        {
            context.Scope.Set(name, Py.FromObject(value));
        }

        Account.Run(context, () => Statement.Execute(body, context));
        return context.Output.ToString();
    }
}
