// Options from configuration: every one by name, none in silence.
using KvCuda.Engine;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KvCuda.Extensions;

/// <summary>
/// Binds <see cref="KvCudaOptions"/> to configuration. These methods stand before Microsoft's of the same names, which use reflection and
/// so leave options out where an application is trimmed or compiled ahead of time. A name that is no option is an error.
/// </summary>
public static class KvCudaBinding
{
    /// <summary>Binds to a section of the application's configuration.</summary>
    /// <param name="options">what <see cref="KvCudaServices.AddKvCuda"/> gave</param>
    /// <param name="section">"KvCuda", or a path: "Models:Small"</param>
    public static OptionsBuilder<KvCudaOptions> BindConfiguration(this OptionsBuilder<KvCudaOptions> options, string section)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrEmpty(section);
        return options.Configure<IConfiguration>((target, configuration) => Read(configuration.GetSection(section), section, target));
    }

    /// <summary>Binds to configuration.</summary>
    /// <param name="options">what <see cref="KvCudaServices.AddKvCuda"/> gave</param>
    /// <param name="configuration">the section that holds <see cref="KvCudaOptions.ModelPath"/></param>
    public static OptionsBuilder<KvCudaOptions> Bind(this OptionsBuilder<KvCudaOptions> options, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(configuration);
        return options.Configure(target => Read(configuration, (configuration as IConfigurationSection)?.Path ?? "configuration", target));
    }

    /// <exception cref="OptionsValidationException">A value is malformed, or a name is no option.</exception>
    static void Read(IConfiguration section, string path, KvCudaOptions target)
    {
        try
        {
            var reader = new ConfigurationReader(section, path);
            target.ModelPath = reader.Text(nameof(target.ModelPath), target.ModelPath);
            target.Load = reader.Choice(nameof(target.Load), target.Load);
            target.Warmup = reader.Value(nameof(target.Warmup), target.Warmup);
            target.ChatTemplate = reader.TextOrNull(nameof(target.ChatTemplate), target.ChatTemplate);
            target.PlainContinuation = reader.Value(nameof(target.PlainContinuation), target.PlainContinuation);
            target.SaturatedWaiting = reader.Value(nameof(target.SaturatedWaiting), target.SaturatedWaiting);
            foreach (string prompt in reader.List(nameof(target.SystemPrompts), [], item => item.Value ?? ""))
            {
                target.SystemPrompts.Add(prompt);
            }
            target.Engine = reader.Part(nameof(target.Engine), target.Engine, Engine);
            target.Chat = reader.Part(nameof(target.Chat), target.Chat, Chat);
            reader.ExpectNoMore();
        }
        catch (InvalidRequestException error)
        {
            throw new OptionsValidationException(Options.DefaultName, typeof(KvCudaOptions), [error.Message]);
        }
    }

    // Tokenizer, TimeProvider, Format and TemplateVariables are objects: they are set in code.
    static KvEngineOptions Engine(ConfigurationReader reader, KvEngineOptions o) => o with
    {
        Device = reader.Text(nameof(o.Device), o.Device),
        Threads = reader.Value(nameof(o.Threads), o.Threads),
        Sharing = reader.TextOrNull(nameof(o.Sharing), o.Sharing),
        KvBudgetBytes = reader.Value(nameof(o.KvBudgetBytes), o.KvBudgetBytes),
        HostKvBudgetBytes = reader.Value(nameof(o.HostKvBudgetBytes), o.HostKvBudgetBytes),
        PageTokens = reader.Value(nameof(o.PageTokens), o.PageTokens),
        PinnedShare = reader.Value(nameof(o.PinnedShare), o.PinnedShare),
        KvType = reader.Text(nameof(o.KvType), o.KvType),
        MaxContext = reader.Value(nameof(o.MaxContext), o.MaxContext),
        MaxSequences = reader.Value(nameof(o.MaxSequences), o.MaxSequences),
        MaxWaiting = reader.Value(nameof(o.MaxWaiting), o.MaxWaiting),
        MaxDraftTokens = reader.Value(nameof(o.MaxDraftTokens), o.MaxDraftTokens),
        MaxStepTokens = reader.Value(nameof(o.MaxStepTokens), o.MaxStepTokens),
        Prefill = reader.Parsed(nameof(o.Prefill), o.Prefill, KvCuda.Model.PrefillMode.Parse),
        Numerics = reader.Text(nameof(o.Numerics), o.Numerics),
        Weights = reader.Text(nameof(o.Weights), o.Weights),
        HoldWeights = reader.Value(nameof(o.HoldWeights), o.HoldWeights),
    };

    static KvChatClientOptions Chat(ConfigurationReader reader, KvChatClientOptions o) => o with
    {
        ModelId = reader.TextOrNull(nameof(o.ModelId), o.ModelId),
        Generate = reader.Part(nameof(o.Generate), o.Generate, Generate),
        KeepConversations = reader.Value(nameof(o.KeepConversations), o.KeepConversations),
        MaxConversations = reader.Value(nameof(o.MaxConversations), o.MaxConversations),
        ConversationIdleTime = reader.Value(nameof(o.ConversationIdleTime), o.ConversationIdleTime),
        ConversationPriority = reader.Value(nameof(o.ConversationPriority), o.ConversationPriority),
        IgnoreUnsupportedOptions = reader.Value(nameof(o.IgnoreUnsupportedOptions), o.IgnoreUnsupportedOptions),
    };

    static GenerateOptions Generate(ConfigurationReader reader, GenerateOptions o) => o with
    {
        MaxTokens = reader.Value(nameof(o.MaxTokens), o.MaxTokens),
        Temperature = reader.Value(nameof(o.Temperature), o.Temperature),
        TopK = reader.Value(nameof(o.TopK), o.TopK),
        TopP = reader.Value(nameof(o.TopP), o.TopP),
        MinP = reader.Value(nameof(o.MinP), o.MinP),
        RepetitionPenalty = reader.Value(nameof(o.RepetitionPenalty), o.RepetitionPenalty),
        Seed = reader.Value(nameof(o.Seed), o.Seed),
        Stop = reader.List(nameof(o.Stop), o.Stop, item => item.Value ?? ""),
        StopTokens = reader.List(nameof(o.StopTokens), o.StopTokens, item => int.TryParse(item.Value, out int id) ? id : -1),
        IgnoreEos = reader.Value(nameof(o.IgnoreEos), o.IgnoreEos),
        Logprobs = reader.Value(nameof(o.Logprobs), o.Logprobs),
        Cache = reader.Choice(nameof(o.Cache), o.Cache),
        Salt = reader.Text(nameof(o.Salt), o.Salt),
        Retention = reader.List(nameof(o.Retention), o.Retention, Retention),
        WhenFull = reader.Choice(nameof(o.WhenFull), o.WhenFull),
        Speculate = reader.Choice(nameof(o.Speculate), o.Speculate),
        DraftTokens = reader.Value(nameof(o.DraftTokens), o.DraftTokens),
        Sinks = reader.Value(nameof(o.Sinks), o.Sinks),
        Window = reader.Value(nameof(o.Window), o.Window),
    };

    static CacheRetention Retention(IConfigurationSection item)
    {
        var reader = new ConfigurationReader(item, item.Path);
        CacheRetention retention = new(reader.Value(nameof(CacheRetention.Start), 0), reader.Value(nameof(CacheRetention.End), (int?)null),
            reader.Value(nameof(CacheRetention.Priority), 35), reader.Value(nameof(CacheRetention.TimeToLive), (TimeSpan?)null));
        reader.ExpectNoMore();
        return retention;
    }
}

/// <summary>Paths that are relative are so to the application's content root, where its settings are, not to where it was started.</summary>
sealed class ContentRootPaths(Microsoft.Extensions.Hosting.IHostEnvironment? environment = null) : IPostConfigureOptions<KvCudaOptions>
{
    public void PostConfigure(string? name, KvCudaOptions options)
    {
        options.ModelPath = Rooted(options.ModelPath)!;
        options.ChatTemplate = Rooted(options.ChatTemplate);
    }

    string? Rooted(string? path) => string.IsNullOrWhiteSpace(path) || environment?.ContentRootPath is not { Length: > 0 } root || Path.IsPathRooted(path)
        ? path : Path.GetFullPath(path, Path.GetFullPath(root));
}
