using System.Diagnostics.Metrics;
using KvCuda.Engine;
using KvCuda.Extensions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace KvCuda.Server;

/// <summary>
/// A model behind HTTP, as OpenAI's clients speak it: <c>/v1/chat/completions</c>, <c>/v1/completions</c>, <c>/v1/models</c>; <c>/health</c>, <c>/ready</c>,
/// <c>/metrics</c>, and a page at <c>/</c>.
/// </summary>
/// <example>
/// <code>
/// await using KvServer server = new(new() { ModelPath = "models/SmolLM2-135M-Instruct" });
/// await server.StartAsync();
/// Console.WriteLine($"{server.Address}: {(await server.GetEngineAsync()).Device}");
/// </code>
/// </example>
public sealed class KvServer : IAsyncDisposable
{
    readonly KvServerOptions options;
    readonly WebApplication app;
    readonly ModelSource model;
    readonly Admission admission;
    readonly LiveMonitor monitor;
    readonly PrometheusText metrics;
    readonly CancellationTokenSource cut = new();
    readonly ILogger logger;
    readonly Lock gate = new();
    Task? stop;
    int disposed;

    /// <param name="options">what to serve, to whom</param>
    /// <exception cref="InvalidRequestException">An option is out of range, or the model would be open to everybody without that having been asked for.</exception>
    public KvServer(KvServerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        this.options = options;
        app = Build(options);
        IMeterFactory meters = app.Services.GetRequiredService<IMeterFactory>();
        metrics = new(meters);
        logger = app.Services.GetRequiredService<ILogger<KvServer>>();
        model = new(app.Services.GetRequiredService<KvEngineHost>());
        Guard guard = new(options);
        admission = new(options.Places, options.PlacesPerKey, options.TokensPerMinutePerKey, options.Engine.TimeProvider);
        Completions completions = new(options, guard, admission, model, app.Services.GetRequiredService<ChatTelemetryOfContainer>().Telemetry, logger, cut.Token);
        monitor = new(options, model, metrics, logger);
        LiveEvents live = new(options, guard, model, monitor, admission, cut.Token);
        Frame frame = new(guard, new ServerMetrics(meters, admission, () => monitor.Alerts.Now()), logger);
        Endpoints endpoints = new(guard, model, metrics, app.Services.GetRequiredService<HealthCheckService>());
        app.Use(frame.InvokeAsync);
        if (options.CorsOrigins.Count > 0)
        {
            app.UseCors(policy => policy.WithOrigins([.. options.CorsOrigins]).WithMethods("GET", "POST").AllowAnyHeader()
                .WithExposedHeaders("x-request-id", "Retry-After"));
        }
        app.UseRouting();
        app.MapPost("/v1/chat/completions", completions.ChatAsync);
        app.MapPost("/v1/completions", completions.TextAsync);
        app.MapGet("/v1/kvcuda/events", live.StreamAsync);
        new TokenEndpoints(options, guard, model).Map(app);
        endpoints.Map(app);
    }

    static WebApplication Build(KvServerOptions options)
    {
        // Empty: no file and no variable of the environment changes what is listened to.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new() { ApplicationName = "KvCuda.Server" });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.MaxBodyBytes;
            kestrel.Limits.MaxRequestLineSize = 4096;
            kestrel.Limits.MaxRequestHeadersTotalSize = 16384;
            kestrel.Limits.MaxRequestHeaderCount = 64;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
            kestrel.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(75);
            ConnectionTable connections = new(options.MaxConnections, options.FirstByteTimeout);
            kestrel.Limits.MaxConcurrentConnections = options.MaxConnections + (2 * ConnectionTable.Reserved);
            kestrel.Listen(options.Address, options.Port, listen =>
            {
                listen.Protocols = HttpProtocols.Http1;
                listen.Use(next => connection => connections.ServeAsync(connection, next));
            });
        });
        builder.Services.AddRoutingCore();
        builder.Services.AddCors();
        builder.Services.AddMetrics();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = options.ShutdownGrace + TimeSpan.FromSeconds(5));
        builder.Logging.SetMinimumLevel(LogLevel.Warning).AddFilter("KvCuda.Server", options.LogRequests ? LogLevel.Information : LogLevel.Warning)
            // What goes wrong at the start is thrown at whoever starts the server.
            .AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None).AddFilter("KvCuda.Extensions.KvEngineHost", level => level == LogLevel.Warning)
            .AddSimpleConsole(console => console.SingleLine = true);
        builder.Services.Configure<Microsoft.Extensions.Logging.Console.ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Services.AddKvCuda().Configure(service =>
        {
            service.ModelPath = options.ModelPath;
            service.Load = KvCudaLoad.OnFirstUse; // which is StartAsync: it has listened by then
            service.Engine = options.Engine;
            service.ChatTemplate = options.ChatTemplate;
            service.PlainContinuation = options.PlainContinuation;
            service.Chat = new() { ModelId = options.ModelId };
        });
        builder.Services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");
        return builder.Build();
    }

    /// <summary>Where it listens: <c>http://127.0.0.1:8080</c>; known once it has started.</summary>
    public Uri Address => new(app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.First());

    /// <summary>Listens, and begins to load the model: until that is done, requests are told to come back, and <c>/ready</c> says no.</summary>
    /// <exception cref="IOException">The port is taken.</exception>
    public async Task StartAsync(CancellationToken cancellation = default)
    {
        await app.StartAsync(cancellation).ConfigureAwait(false);
        _ = model.LoadAsync();
        monitor.Start();
    }

    /// <summary>The engine, when it is loaded.</summary>
    /// <exception cref="KvCudaException">The model could not be loaded.</exception>
    public async Task<KvEngine> GetEngineAsync(CancellationToken cancellation = default)
    {
        KvEngine engine = (await model.LoadAsync().WaitAsync(cancellation).ConfigureAwait(false)).Engine;
        return engine.Tokenizer is not null ? engine
            : throw new InvalidRequestException($"{options.ModelPath} has no tokenizer.json; a server of texts needs one.");
    }

    /// <summary>
    /// <c>/ready</c> says no. After <see cref="KvServerOptions.DrainDelay"/> new requests get a 503; running ones may go on for
    /// <see cref="KvServerOptions.ShutdownGrace"/>, then streams end with an error event and others with a 503. It listens until nothing runs.
    /// </summary>
    /// <param name="cancellation">does not wait any longer: cuts at once</param>
    public async Task StopAsync(CancellationToken cancellation = default)
    {
        using CancellationTokenRegistration now = cancellation.Register(cut.Cancel);
        lock (gate)
        {
            stop ??= DrainAsync();
        }
        await stop.ConfigureAwait(false);
    }

    async Task DrainAsync()
    {
        model.Drain();
        await Task.Delay(options.DrainDelay, cut.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        model.Stop();
        cut.CancelAfter(options.ShutdownGrace);
        await admission.WhenEmptyAsync().WaitAsync(cut.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await app.StopAsync(CancellationToken.None).ConfigureAwait(false);
    }

    /// <summary>Stops if that has not been done, and ends the engine.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref disposed, 1) != 0)
        {
            return;
        }
        await StopAsync(new CancellationToken(canceled: true)).ConfigureAwait(false);
        await monitor.DisposeAsync().ConfigureAwait(false);
        await app.DisposeAsync().ConfigureAwait(false);
        metrics.Dispose();
        cut.Dispose();
    }
}
