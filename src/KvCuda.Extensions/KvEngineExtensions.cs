using KvCuda.Engine;
using Microsoft.Extensions.AI;

namespace KvCuda.Extensions;

/// <summary>What an engine is to Microsoft.Extensions.AI.</summary>
public static class KvEngineExtensions
{
    /// <summary>
    /// The engine as an <see cref="IChatClient"/>. The engine stays the caller's: disposing the client ends its conversations only.
    /// </summary>
    /// <param name="engine">what answers</param>
    /// <param name="options">null: the chat template of the model's folder, and the defaults</param>
    /// <example>
    /// <code>
    /// await using var engine = await KvEngine.LoadAsync("models/SmolLM2-135M-Instruct");
    /// IChatClient chat = engine.AsChatClient();
    /// Console.WriteLine(await chat.GetResponseAsync("What is a page?"));
    /// </code>
    /// </example>
    /// <exception cref="InvalidRequestException">An option is out of range, or the model has no chat template and none was given.</exception>
    /// <exception cref="ModelFormatException">The model's chat template is malformed.</exception>
    /// <exception cref="UnsupportedModelException">The model's chat template uses something that KvCuda does not implement.</exception>
    public static KvChatClient AsChatClient(this KvEngine engine, KvChatClientOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(engine);
        return new(engine, options);
    }
}
