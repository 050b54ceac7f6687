using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using KvCuda.Engine;
using KvCuda.Extensions;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCuda.Tests.Extensions;

/// <summary>A model among the services of an application: what starts, what is told, what ends.</summary>
public sealed class ServiceTests(ChatModel model) : IClassFixture<ChatModel>, IDisposable
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    sealed class LogBook : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<string> Lines { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Lines.Enqueue($"{logLevel}: {formatter(state, exception)}");

        public void Dispose() { }
    }

    readonly LogBook log = new();

    public void Dispose() => log.Dispose();

    ServiceCollection Services()
    {
        ServiceCollection services = new();
        services.AddLogging(logging => logging.AddProvider(log));
        return services;
    }

    void Demo(KvCudaOptions options)
    {
        options.ModelPath = model.Folder;
        options.Engine = ChatModel.Small;
        options.Chat = new() { Generate = new() { MaxTokens = 8, IgnoreEos = true } };
    }

    // What a host does.
    static async Task Start(IServiceProvider services)
    {
        services.GetService<IStartupValidator>()?.Validate();
        foreach (IHostedService service in services.GetServices<IHostedService>())
        {
            await service.StartAsync(Cancellation);
        }
    }

    static async Task<HealthReportEntry> Health(IServiceProvider services) =>
        Assert.Single((await services.GetRequiredService<HealthCheckService>().CheckHealthAsync(Cancellation)).Entries).Value;

    [Fact]
    public async Task An_application_starts_with_a_model_that_is_ready()
    {
        const string system = "You are the keeper of the lighthouse, and you tell of ships and whales and of the sea, in few words.";
        ServiceCollection services = Services();
        services.AddKvCuda().Configure(Demo).Configure(options => options.SystemPrompts.Add(system));
        services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        HealthReportEntry health = await Health(provider);
        Assert.Equal(HealthStatus.Healthy, health.Status);
        Assert.StartsWith("cpu", (string)health.Data["device"], StringComparison.Ordinal);
        Assert.True((long)health.Data["pinned_bytes"] > 0);

        IChatClient chat = provider.GetRequiredService<IChatClient>();
        Assert.Same(provider.GetRequiredService<KvEngine>(), chat.GetService<KvEngine>() ?? await provider.GetRequiredService<KvEngineHost>().GetEngineAsync(Cancellation));
        ChatResponse response = await chat.GetResponseAsync([new(ChatRole.System, system), new(ChatRole.User, "Who are you?")], cancellationToken: Cancellation);
        Assert.True(response.Usage!.CachedInputTokenCount >= 16);
        Assert.Contains(log.Lines, line => line.StartsWith($"Information: Loading {Path.GetFileName(model.Folder)} from {model.Folder}", StringComparison.Ordinal));
        Assert.Contains(log.Lines, line => line.Contains("weights 100", StringComparison.Ordinal));
        Assert.Contains(log.Lines, line => line.Contains("warm-up", StringComparison.Ordinal));
        Assert.Contains(log.Lines, line => line.StartsWith("Information: System prompt 1: of ", StringComparison.Ordinal));
        Assert.Contains(log.Lines, line => line.Contains("is ready on cpu", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_model_is_loaded_by_its_first_request_where_that_is_asked_for()
    {
        ServiceCollection services = Services();
        services.AddKvCuda().Configure(Demo).Configure(options => options.Load = KvCudaLoad.OnFirstUse);
        services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        KvEngineHost host = provider.GetRequiredService<KvEngineHost>();
        Assert.Equal(KvEngineState.NotLoaded, host.State);
        Assert.Equal(HealthStatus.Healthy, (await Health(provider)).Status);
        IChatClient chat = provider.GetRequiredService<IChatClient>();
        Assert.Null(chat.GetService<KvEngine>());
        Assert.Equal(KvEngineState.NotLoaded, host.State);
        ChatResponse[] both = await Task.WhenAll(chat.GetResponseAsync("Call me", cancellationToken: Cancellation), chat.GetResponseAsync("Call me", cancellationToken: Cancellation));
        Assert.Equal(both[0].Text, both[1].Text);
        Assert.Equal(KvEngineState.Ready, host.State);
        Assert.Single(log.Lines, line => line.Contains("is ready on", StringComparison.Ordinal));
    }

    [Fact]
    public async Task While_a_model_loads_in_the_background_it_is_not_healthy_and_requests_wait()
    {
        // The engine's clock is asked when the engine is made: there the loading stands still until it may go on.
        using Gate gate = new();
        ServiceCollection services = Services();
        services.AddKvCuda().Configure(Demo).Configure(options =>
        {
            options.Load = KvCudaLoad.InBackground;
            options.Engine = options.Engine with { TimeProvider = gate };
        });
        services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        KvEngineHost host = provider.GetRequiredService<KvEngineHost>();
        Assert.Equal(KvEngineState.Loading, host.State);
        HealthReportEntry health = await Health(provider);
        Assert.Equal(HealthStatus.Unhealthy, health.Status);
        Assert.Contains("is being loaded", health.Description, StringComparison.Ordinal);
        Task<ChatResponse> waiting = provider.GetRequiredService<IChatClient>().GetResponseAsync("Call me", cancellationToken: Cancellation);
        using CancellationTokenSource impatient = new();
        Task<ChatResponse> leaving = provider.GetRequiredService<IChatClient>().GetResponseAsync("Call me", cancellationToken: impatient.Token);
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => leaving);
        Assert.False(waiting.IsCompleted);
        gate.Open();
        Assert.NotEmpty((await waiting).Text);
        Assert.Equal(HealthStatus.Healthy, (await Health(provider)).Status);
    }

    sealed class Gate : TimeProvider, IDisposable
    {
        readonly ManualResetEventSlim open = new();

        public void Open() => open.Set();

        public override long GetTimestamp()
        {
            open.Wait();
            return base.GetTimestamp();
        }

        public void Dispose() => open.Set();
    }

    [Fact]
    public async Task Wrong_options_are_all_named_before_anything_is_loaded()
    {
        ServiceCollection services = Services();
        services.AddKvCuda("small").Configure(options =>
        {
            options.ModelPath = "/nowhere/at/all";
            options.ChatTemplate = "/nowhere.jinja";
            options.SaturatedWaiting = 0;
            options.SystemPrompts.Add(" ");
            options.Engine = new() { PageTokens = 17 };
            options.Chat = new() { MaxConversations = 0 };
        });
        await using ServiceProvider provider = services.BuildServiceProvider();
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => Start(provider));
        foreach (string part in (string[])["KvCuda 'small'", "no model folder at /nowhere/at/all", "no file /nowhere.jinja", "SaturatedWaiting is 0", "SystemPrompts",
            "Engine: PageTokens is 17", "Chat: MaxConversations is 0"])
        {
            Assert.Contains(part, error.Message, StringComparison.Ordinal);
        }
        Assert.Throws<OptionsValidationException>(() => provider.GetRequiredKeyedService<IChatClient>("small"));

        ServiceCollection none = Services();
        none.AddKvCuda();
        await using ServiceProvider empty = none.BuildServiceProvider();
        Assert.Contains("ModelPath is empty", (await Assert.ThrowsAsync<OptionsValidationException>(() => Start(empty))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Options_bind_from_configuration_and_a_misspelt_one_is_an_error()
    {
        Dictionary<string, string?> settings = new()
        {
            ["KvCuda:ModelPath"] = model.Folder, ["KvCuda:Load"] = "OnFirstUse", ["KvCuda:Warmup"] = "false", ["KvCuda:SystemPrompts:0"] = "Be brief.",
            ["KvCuda:Engine:Device"] = "cpu", ["KvCuda:Engine:PageTokens"] = "32", ["KvCuda:Engine:KvBudgetBytes"] = "8388608",
            ["KvCuda:Chat:ModelId"] = "whale", ["KvCuda:Chat:Generate:MaxTokens"] = "5", ["KvCuda:Chat:KeepConversations"] = "true",
            ["KvCuda:Chat:ConversationIdleTime"] = "00:10:00",
        };
        ServiceCollection services = Services();
        services.AddSingleton<IConfiguration>(new ConfigurationBuilder().AddInMemoryCollection(settings).Build());
        services.AddKvCuda().BindConfiguration("KvCuda");
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        KvCudaOptions options = provider.GetRequiredService<IOptions<KvCudaOptions>>().Value;
        Assert.Equal((KvCudaLoad.OnFirstUse, false, "cpu", 32, 8388608L), (options.Load, options.Warmup, options.Engine.Device, options.Engine.PageTokens, options.Engine.KvBudgetBytes));
        Assert.Equal(("whale", 5, true, TimeSpan.FromMinutes(10)),
            (options.Chat.ModelId, options.Chat.Generate.MaxTokens, options.Chat.KeepConversations, options.Chat.ConversationIdleTime));
        ChatResponse response = await provider.GetRequiredService<IChatClient>().GetResponseAsync("Call me", cancellationToken: Cancellation);
        Assert.Equal(("whale", 5), (response.ModelId, response.Usage!.OutputTokenCount));
        Assert.NotNull(response.ConversationId);

        settings["KvCuda:Engine:PageTokkens"] = "32";
        ServiceCollection misspelt = Services();
        misspelt.AddSingleton<IConfiguration>(new ConfigurationBuilder().AddInMemoryCollection(settings).Build());
        misspelt.AddKvCuda().BindConfiguration("KvCuda");
        await using ServiceProvider wrong = misspelt.BuildServiceProvider();
        Assert.Contains("KvCuda:Engine:PageTokkens, which is no option", (await Assert.ThrowsAsync<OptionsValidationException>(() => Start(wrong))).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("KvCuda:Engine:Threads", "two", "'two' at KvCuda:Engine:Threads; it should be a Int32")]
    [InlineData("KvCuda:Load", "Sometimes", "it should be AtStart, InBackground, OnFirstUse")]
    [InlineData("KvCuda:Engine:Device", "abacus", "Unknown device 'abacus'")]
    [InlineData("KvCuda:Engine:Device", "cuda:99", "Engine: ")]
    [InlineData("KvCuda:Chat:Generate:MaxTokens:0", "5", "a section at KvCuda:Chat:Generate:MaxTokens")]
    public async Task What_the_configuration_gets_wrong_is_named_before_anything_is_loaded(string key, string value, string reason)
    {
        ServiceCollection services = Services();
        services.AddSingleton<IConfiguration>(new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KvCuda:ModelPath"] = model.Folder, [key] = value,
        }).Build());
        services.AddKvCuda().BindConfiguration("KvCuda");
        await using ServiceProvider provider = services.BuildServiceProvider();
        Assert.Contains(reason, (await Assert.ThrowsAsync<OptionsValidationException>(() => Start(provider))).Message, StringComparison.Ordinal);
    }

    /// <summary>A new option is bound too, or is named here as one that only code can set.</summary>
    [Fact]
    public void Every_option_binds_from_configuration()
    {
        string[] onlyCode = ["Tokenizer", "TimeProvider", "Format", "TemplateVariables"];
        var settings = new Dictionary<string, string?>();
        Fill(typeof(KvCudaOptions), "KvCuda");
        KvCudaOptions bound = new();
        ServiceCollection services = new();
        services.AddOptions<KvCudaOptions>().Bind(new ConfigurationBuilder().AddInMemoryCollection(settings).Build().GetSection("KvCuda"));
        using ServiceProvider provider = services.BuildServiceProvider();
        bound = provider.GetRequiredService<IOptions<KvCudaOptions>>().Value;
        List<string> same = [];
        Compare(bound, new KvCudaOptions(), "KvCuda");
        Assert.True(same.Count == 0, "not bound: " + string.Join(", ", same));

        void Fill(Type type, string path)
        {
            foreach (System.Reflection.PropertyInfo property in type.GetProperties().Where(property => !onlyCode.Contains(property.Name)))
            {
                string key = $"{path}:{property.Name}";
                Type plain = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
                if (plain.IsClass && plain != typeof(string))
                {
                    Fill(plain, key);
                }
                else if (plain == typeof(IReadOnlyList<CacheRetention>))
                {
                    (settings[key + ":0:Start"], settings[key + ":0:Priority"], settings[key + ":0:TimeToLive"]) = ("3", "70", "00:01:00");
                }
                else if (plain.IsGenericType)
                {
                    settings[key + ":0"] = "7";
                }
                else
                {
                    settings[key] = plain == typeof(bool) ? (Default(property) is true ? "false" : "true")
                        : plain.IsEnum ? Enum.GetNames(plain)[^1]
                        : plain == typeof(KvCuda.Model.PrefillMode) ? "sequential"
                        : plain == typeof(TimeSpan) ? "00:00:07" : plain == typeof(float) || plain == typeof(double) ? "0.125" : "7";
                }
            }
        }

        static object? Default(System.Reflection.PropertyInfo property) => property.GetValue(Activator.CreateInstance(property.DeclaringType!));

        void Compare(object a, object b, string path)
        {
            foreach (System.Reflection.PropertyInfo property in a.GetType().GetProperties().Where(property => !onlyCode.Contains(property.Name)))
            {
                object? x = property.GetValue(a), y = property.GetValue(b);
                if (property.PropertyType.IsClass && property.PropertyType != typeof(string))
                {
                    Compare(x!, y!, $"{path}.{property.Name}");
                }
                else if (x is System.Collections.ICollection list ? list.Count == 0 : Equals(x, y))
                {
                    same.Add($"{path}.{property.Name}");
                }
            }
        }
    }

    [Fact]
    public async Task Paths_are_relative_to_the_content_root()
    {
        ServiceCollection services = Services();
        services.AddSingleton<IHostEnvironment>(new Root(Path.GetDirectoryName(model.Folder)!));
        services.AddKvCuda().Configure(options => (options.ModelPath, options.Load) = (Path.GetFileName(model.Folder), KvCudaLoad.OnFirstUse));
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        Assert.Equal(model.Folder, provider.GetRequiredService<IOptions<KvCudaOptions>>().Value.ModelPath);
    }

    sealed class Root(string path) : IHostEnvironment
    {
        public string EnvironmentName { get; set; } = "Test";

        public string ApplicationName { get; set; } = "Test";

        public string ContentRootPath { get; set; } = path;

        public Microsoft.Extensions.FileProviders.IFileProvider ContentRootFileProvider { get; set; } = new Microsoft.Extensions.FileProviders.NullFileProvider();
    }

    [Fact]
    public async Task A_model_that_cannot_chat_for_want_of_a_template_is_degraded()
    {
        ServiceCollection services = Services();
        services.AddKvCuda().Configure(options => (options.ModelPath, options.Engine) = (Repository.Demo, ChatModel.Small));
        services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        HealthReportEntry health = await Health(provider);
        Assert.Equal((HealthStatus.Degraded, "none"), (health.Status, (string)health.Data["chat_format"]));
        Assert.Contains("no chat template", health.Description, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Several_models_are_keyed_services()
    {
        ServiceCollection services = Services();
        foreach (string name in (string[])["small", "plain"])
        {
            services.AddKvCuda(name).Configure(Demo).Configure(options => options.Load = KvCudaLoad.OnFirstUse);
        }
        services.AddKvCuda("plain").Configure(options => (options.ModelPath, options.PlainContinuation) = (Repository.Demo, true));
        services.AddHealthChecks().Add(KvCudaHealthCheck.Registration("plain"));
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        Assert.Equal(2, provider.GetServices<IHostedService>().OfType<KvEngineStartup>().Count());
        Assert.Null(provider.GetService<IChatClient>());
        IChatClient small = provider.GetRequiredKeyedService<IChatClient>("small"), plain = provider.GetRequiredKeyedService<IChatClient>("plain");
        string answer = (await plain.GetResponseAsync("Call me", cancellationToken: Cancellation)).Text;
        Assert.Equal((await model.Engine.CompleteAsync("Call me", new() { MaxTokens = 8, IgnoreEos = true }, Cancellation)).Text, answer);
        Assert.NotEqual(answer, (await small.GetResponseAsync("Call me", cancellationToken: Cancellation)).Text);
        Assert.NotSame(provider.GetRequiredKeyedService<KvEngine>("small"), provider.GetRequiredKeyedService<KvEngine>("plain"));
        Assert.Equal("demo answers on " + provider.GetRequiredKeyedService<KvEngine>("plain").Device + ".", (await Health(provider)).Description);
        Assert.Contains(log.Lines, line => line.StartsWith("Warning: demo has no chat template", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_model_that_cannot_be_loaded_stops_the_start_is_unhealthy_and_is_tried_again()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("kvcuda-services-");
        try
        {
            ServiceCollection services = Services();
            services.AddKvCuda().Configure(Demo).Configure(options => options.ModelPath = folder.FullName);
            services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");
            await using ServiceProvider provider = services.BuildServiceProvider();
            var error = await Assert.ThrowsAsync<ModelFormatException>(() => Start(provider));
            HealthReportEntry health = await Health(provider);
            Assert.Equal((HealthStatus.Unhealthy, error.Message), (health.Status, health.Description));
            Assert.Equal(KvEngineState.Failed, provider.GetRequiredService<KvEngineHost>().State);
            Assert.Contains(log.Lines, line => line.StartsWith("Error: The model in ", StringComparison.Ordinal));
            await Assert.ThrowsAsync<ModelFormatException>(() => provider.GetRequiredService<IChatClient>().GetResponseAsync("Call me", cancellationToken: Cancellation));

            foreach (string file in Directory.GetFiles(model.Folder))
            {
                File.Copy(file, Path.Combine(folder.FullName, Path.GetFileName(file)));
            }
            Assert.NotEmpty((await provider.GetRequiredService<IChatClient>().GetResponseAsync("Call me", cancellationToken: Cancellation)).Text);
            Assert.Equal(HealthStatus.Healthy, (await Health(provider)).Status);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_failed_device_is_unhealthy_with_its_reason_and_many_who_wait_are_degraded()
    {
        ServiceCollection services = Services();
        services.AddKvCuda().Configure(Demo).Configure(options => (options.Engine, options.SaturatedWaiting) = (ChatModel.Small with { MaxSequences = 1 }, 2));
        services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");
        await using ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        IChatClient chat = provider.GetRequiredService<IChatClient>();
        KvEngine engine = provider.GetRequiredService<KvEngine>();

        // Three requests that never end, of which one runs.
        using CancellationTokenSource enough = new();
        ChatOptions endless = new() { RawRepresentationFactory = _ => new GenerateOptions { MaxTokens = 1_000_000, IgnoreEos = true, WhenFull = ContextFull.Slide } };
        Task[] requests = [.. Enumerable.Range(0, 3).Select(_ => chat.GetResponseAsync("Call me", endless, enough.Token))];
        HealthReportEntry entry = await Health(provider);
        while (entry.Status == HealthStatus.Healthy)
        {
            entry = await Health(provider); // they may not all have been taken in yet
        }
        Assert.Equal(HealthStatus.Degraded, entry.Status);
        Assert.Contains("requests wait for room", entry.Description, StringComparison.Ordinal);
        await enough.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Task.WhenAll(requests));

        engine.BeforeAccept = () => throw new DeviceException("The device fell off the bus.");
        await Assert.ThrowsAsync<DeviceException>(() => chat.GetResponseAsync("Call me", cancellationToken: Cancellation));
        entry = await Health(provider);
        Assert.Equal((HealthStatus.Unhealthy, "The device fell off the bus."), (entry.Status, entry.Description));
        Assert.Equal(KvEngineState.Failed, provider.GetRequiredService<KvEngineHost>().State);
    }

    [Fact]
    public async Task Metrics_are_the_containers_and_end_with_it()
    {
        ServiceCollection services = Services();
        services.AddMetrics();
        services.AddKvCuda().Configure(Demo).Configure(options => options.Chat = options.Chat with { ModelId = "contained" });
        ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        IMeterFactory factory = provider.GetRequiredService<IMeterFactory>();
        ConcurrentQueue<string> heard = [];
        using MeterListener listener = new()
        {
            InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Meter.Name == KvCudaTelemetry.Name && ReferenceEquals(instrument.Meter.Scope, factory))
                {
                    self.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, _, _, _) => heard.Enqueue(instrument.Name));
        listener.SetMeasurementEventCallback<double>((instrument, _, _, _) => heard.Enqueue(instrument.Name));
        listener.Start();
        await provider.GetRequiredService<IChatClient>().GetResponseAsync("Call me", cancellationToken: Cancellation);
        listener.RecordObservableInstruments();
        Assert.Contains("gen_ai.client.operation.duration", heard);
        Assert.Contains("kvcuda.store.pages", heard);
        await provider.DisposeAsync();
        heard.Clear();
        listener.RecordObservableInstruments();
        Assert.Empty(heard);
    }

    [Fact]
    public async Task The_end_of_the_container_ends_conversations_engine_and_waiting_requests()
    {
        ServiceCollection services = Services();
        services.AddKvCuda().Configure(Demo).Configure(options => options.Chat = options.Chat with { KeepConversations = true, Generate = new() { MaxTokens = 200 } });
        ServiceProvider provider = services.BuildServiceProvider();
        await Start(provider);
        KvEngineHost host = provider.GetRequiredService<KvEngineHost>();
        IChatClient chat = provider.GetRequiredService<IChatClient>();
        KvEngine engine = await host.GetEngineAsync(Cancellation);
        await using IAsyncEnumerator<ChatResponseUpdate> updates = chat.GetStreamingResponseAsync("Call me", cancellationToken: Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.True(await updates.MoveNextAsync());
        await provider.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () =>
        {
            while (await updates.MoveNextAsync()) { }
        });
        Assert.Equal(KvEngineState.Disposed, host.State);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => host.GetEngineAsync(Cancellation));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => engine.CompleteAsync("Call me"));

        // Also while it is being loaded, and without anybody who waits asynchronously.
        services = Services();
        services.AddKvCuda().Configure(Demo).Configure(options => options.Load = KvCudaLoad.InBackground);
        ServiceProvider early = services.BuildServiceProvider();
        await Start(early);
        early.Dispose();
    }
}
