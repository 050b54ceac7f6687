using System.Diagnostics.Metrics;
using KvCuda.Engine;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCuda.Extensions;

/// <summary>A model among the services of an application.</summary>
public static class KvCudaServices
{
    /// <summary>
    /// Adds a model: <see cref="IChatClient"/>, <see cref="KvChatClient"/>, <see cref="KvEngine"/>, <see cref="KvEngineHost"/>,
    /// <see cref="KvCudaHealthCheck"/>, metrics, and a hosted service that loads it. All are singletons and end with the container, clients
    /// before engines. With a name, they are keyed services of that name, so that an application can have several models.
    /// </summary>
    /// <param name="services">the application's</param>
    /// <param name="name">null: the application's only model, or its default one</param>
    /// <returns>
    /// Its options, to be configured and bound: <c>.BindConfiguration("KvCuda")</c>, <c>.Configure(options => ..)</c>. They are validated when the
    /// application starts.
    /// </returns>
    /// <remarks>
    /// An <see cref="IChatClient"/> that is registered already stays; one that is registered later, a pipeline around this one say, goes
    /// before it. Whoever is given a <see cref="KvEngine"/> before it is loaded waits for it; <see cref="KvEngineHost.GetEngineAsync"/>
    /// does not block.
    /// </remarks>
    /// <example>
    /// <code>
    /// builder.Services.AddKvCuda().Configure(options => options.ModelPath = "models/SmolLM2-135M-Instruct");
    /// builder.Services.AddHealthChecks().AddCheck&lt;KvCudaHealthCheck&gt;("model");
    /// builder.Services.AddOpenTelemetry().WithMetrics(m => m.AddMeter(KvCudaTelemetry.Name)).WithTracing(t => t.AddSource(KvCudaTelemetry.Name));
    ///
    /// app.MapGet("/ask", async (string q, IChatClient chat) => (await chat.GetResponseAsync(q)).Text);
    /// </code>
    /// </example>
    public static OptionsBuilder<KvCudaOptions> AddKvCuda(this IServiceCollection services, string? name = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        name = string.IsNullOrEmpty(name) ? Options.DefaultName : name;
        object? key = name.Length == 0 ? null : name;
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<KvCudaOptions>, KvCudaOptionsValidator>());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IPostConfigureOptions<KvCudaOptions>, ContentRootPaths>());
        OptionsBuilder<KvCudaOptions> options = services.AddOptions<KvCudaOptions>(name).ValidateOnStart();
        if (services.Any(service => service.ServiceType == typeof(KvEngineHost) && Equals(service.ServiceKey, key)))
        {
            return options; // the same model once more: only its options are added to
        }
        services.TryAddSingleton<ChatTelemetryOfContainer>();
        Add(provider => new KvEngineHost(name, provider.GetRequiredService<IOptionsMonitor<KvCudaOptions>>(), provider.GetService<IMeterFactory>(),
            provider.GetService<ILoggerFactory>()?.CreateLogger<KvEngineHost>() ?? (ILogger)NullLogger.Instance));
        Add(provider => Host(provider).GetEngineAsync().GetAwaiter().GetResult());
        Add(provider =>
        {
            KvEngineHost host = Host(provider);
            return new KvChatClient(host.ForChatAsync, host.Settings.Chat, host.ModelId, provider.GetRequiredService<ChatTelemetryOfContainer>().Telemetry);
        });
        Add<IChatClient>(provider => provider.GetRequiredKeyedService<KvChatClient>(key));
        Add(provider => new KvCudaHealthCheck(Host(provider)));
        services.AddSingleton<IHostedService>(provider => new KvEngineStartup(Host(provider)));
        return options;

        KvEngineHost Host(IServiceProvider provider) => provider.GetRequiredKeyedService<KvEngineHost>(key);

        void Add<T>(Func<IServiceProvider, T> create)
            where T : class
        {
            if (key is null)
            {
                services.TryAddSingleton(create);
            }
            else
            {
                services.TryAddKeyedSingleton(key, (provider, _) => create(provider));
            }
        }
    }
}

/// <summary>The instruments of a container's chat clients, on a meter of its factory if it has one.</summary>
sealed class ChatTelemetryOfContainer(IMeterFactory? meters = null)
{
    public ChatTelemetry Telemetry { get; } =
        meters is null ? ChatTelemetry.Default : new(meters.Create(new MeterOptions(KvCudaTelemetry.Name)));
}

/// <summary>Loads a model when the application starts, as its options say.</summary>
sealed class KvEngineStartup(KvEngineHost host) : IHostedService
{
    public Task StartAsync(CancellationToken cancellationToken)
    {
        switch (host.Settings.Load)
        {
            case KvCudaLoad.AtStart:
                return host.LoadAsync(cancellationToken);
            case KvCudaLoad.InBackground:
                // What goes wrong is logged, is the health check's to tell, and tried again by whoever asks next.
                _ = host.LoadAsync(CancellationToken.None).ContinueWith(static load => load.Exception, CancellationToken.None,
                    TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
                return Task.CompletedTask;
            default:
                return Task.CompletedTask;
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask; // the container ends it
}
