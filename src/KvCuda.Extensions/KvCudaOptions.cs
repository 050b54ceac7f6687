using KvCuda.Engine;
using Microsoft.Extensions.Options;

namespace KvCuda.Extensions;

/// <summary>When a service loads its model.</summary>
public enum KvCudaLoad
{
    /// <summary>Before the application has started: it starts with a model that is ready, or not at all.</summary>
    AtStart,

    /// <summary>Beginning with the application, which does not wait for it; requests do, and the health check tells.</summary>
    InBackground,

    /// <summary>With the first request, which waits for it.</summary>
    OnFirstUse,
}

/// <summary>A model as a service of an application; binds from configuration (<see cref="KvCudaBinding"/>).</summary>
/// <example>
/// <code>
/// builder.Services.AddKvCuda().BindConfiguration("KvCuda");
/// </code>
/// <code>
/// "KvCuda": {
///   "ModelPath": "models/SmolLM2-135M-Instruct", "Load": "InBackground", "SystemPrompts": [ "You are terse." ],
///   "Engine": { "Device": "auto", "MaxSequences": 32 }, "Chat": { "Generate": { "MaxTokens": 512 } }
/// }
/// </code>
/// </example>
public sealed class KvCudaOptions
{
    /// <summary>The model folder; relative to the application's content root, or without one to the current directory.</summary>
    public string ModelPath { get; set; } = "";

    /// <summary>When it is loaded.</summary>
    public KvCudaLoad Load { get; set; } = KvCudaLoad.AtStart;

    /// <summary>Run a few tokens when it is loaded, so that the first request does not pay for what happens only once.</summary>
    public bool Warmup { get; set; } = true;

    /// <summary>System messages that are computed when the model is loaded, and stay in the cache: conversations that begin with one find its whole pages.</summary>
    public IList<string> SystemPrompts { get; } = [];

    /// <summary>A file with a chat template (Jinja), relative as <see cref="ModelPath"/> is; null: the model folder's own.</summary>
    public string? ChatTemplate { get; set; }

    /// <summary>Where the model has no chat template: messages are one running text that the model goes on with, instead of an error.</summary>
    public bool PlainContinuation { get; set; }

    /// <summary>So many requests that wait for room make the health check say degraded; null: as many as may run.</summary>
    public int? SaturatedWaiting { get; set; }

    /// <summary>How the engine is set up.</summary>
    public KvEngineOptions Engine { get; set; } = new();

    /// <summary>How its chat client answers.</summary>
    public KvChatClientOptions Chat { get; set; } = new();
}

/// <summary>Finds everything that is wrong with the options before a model is loaded.</summary>
sealed class KvCudaOptionsValidator : IValidateOptions<KvCudaOptions>
{
    public ValidateOptionsResult Validate(string? name, KvCudaOptions options)
    {
        List<string> wrong = [];
        string who = string.IsNullOrEmpty(name) ? "KvCuda" : $"KvCuda '{name}'";
        if (string.IsNullOrWhiteSpace(options.ModelPath))
        {
            wrong.Add($"{who}: ModelPath is empty; set it to a Hugging Face model folder.");
        }
        else if (!Directory.Exists(options.ModelPath))
        {
            wrong.Add($"{who}: there is no model folder at {Path.GetFullPath(options.ModelPath)} (ModelPath).");
        }
        if (options.ChatTemplate is { } template && !File.Exists(template))
        {
            wrong.Add($"{who}: there is no file {Path.GetFullPath(template)} (ChatTemplate).");
        }
        if (options.SystemPrompts.Any(string.IsNullOrWhiteSpace))
        {
            wrong.Add($"{who}: one of SystemPrompts is empty.");
        }
        if (options.SaturatedWaiting < 1)
        {
            wrong.Add($"{who}: SaturatedWaiting is {options.SaturatedWaiting}; it must be at least 1.");
        }
        if (!Enum.IsDefined(options.Load))
        {
            wrong.Add($"{who}: Load is {options.Load}; it must be one of {string.Join(", ", Enum.GetNames<KvCudaLoad>())}.");
        }
        Check("Engine", options.Engine is null ? null : () =>
        {
            options.Engine.Validate();
            options.Engine.ValidateDevice();
        });
        Check("Chat", options.Chat is null ? null : options.Chat.Validate);
        return wrong.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(wrong);

        void Check(string part, Action? validate)
        {
            if (validate is null)
            {
                wrong.Add($"{who}: {part} is null.");
                return;
            }
            try
            {
                validate();
            }
            catch (Exception error) when (error is InvalidRequestException or DeviceException)
            {
                wrong.Add($"{who}: {part}: {error.Message}");
            }
        }
    }
}
