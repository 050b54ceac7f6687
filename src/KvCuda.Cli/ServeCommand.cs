using System.CommandLine;
using System.Runtime.InteropServices;
using KvCuda.Engine;
using KvCuda.Server;

namespace KvCuda.Cli;

/// <summary><c>kvcuda serve</c>: a model behind HTTP, as OpenAI's clients speak it.</summary>
internal static class ServeCommand
{
    public const string Name = "serve";

    public static Command Create()
    {
        ModelOptions model = new();
        Option<string> host = new("--host")
        {
            Description = "The address to listen on: an IP address, localhost, or * for all. Beyond loopback an API key is required.",
            DefaultValueFactory = _ => "127.0.0.1",
        };
        Option<int> port = new("--port") { Description = "The port; 0 = any free port.", DefaultValueFactory = _ => 8080 };
        Option<string[]> apiKey = new("--api-key")
        {
            Description = "A key that requests must send (Authorization: Bearer KEY). Can be repeated. "
                + "Other users of the machine can see command lines: prefer --api-key-file.",
        };
        Option<string?> apiKeyFile = new("--api-key-file") { Description = "A file with API keys, one per line." };
        Option<bool> insecure = new("--insecure") { Description = "Listen beyond loopback without a key." };
        Option<bool> shareCache = new("--share-cache")
        {
            Description = "Share the prefix cache between API keys. Callers can then tell from response times "
                + "that another caller had the same prompt.",
        };
        Option<string[]> cors = new("--cors") { Description = "An origin whose pages may call the server, as in https://app.example. Can be repeated." };
        Option<string[]> allowHost = new("--allow-host") { Description = "A further host name for the server, such as a proxy's. Can be repeated." };
        Option<string?> name = new("--name") { Description = "Name of the model in the API. Default: the name of its folder." };
        Option<string?> template = new("--template") { Description = "A file with the chat template (Jinja), instead of the model folder's." };
        Option<bool> plain = new("--plain-continuation") { Description = "For a model without a chat template: join all messages into one text to continue." };
        Option<int> sequences = new("--max-sequences") { Description = "Maximum number of requests that run at the same time.", DefaultValueFactory = _ => 64 };
        Option<int> queued = new("--max-queued") { Description = "Maximum number of requests that wait; further ones get status 429.", DefaultValueFactory = _ => 64 };
        Option<int?> prompt = new("--max-prompt") { Description = "Longest prompt in tokens. Default: the context." };
        Option<int?> answer = new("--max-answer") { Description = "Longest answer in tokens. Default: the context." };
        Option<string> body = new("--max-body") { Description = "Largest request body.", DefaultValueFactory = _ => "2MiB" };
        Option<double> timeout = new("--timeout") { Description = "Time limit of a request in seconds, including the time it waits.", DefaultValueFactory = _ => 600 };
        Option<double> grace = new("--grace") { Description = "On shutdown, seconds that running requests get to finish.", DefaultValueFactory = _ => 20 };
        Option<string?> operatorKeyFile = new("--operator-key-file")
        {
            Description = "A file with keys, one per line, that see on the page what the engine does for all callers. They are API keys too.",
        };
        Option<string[]> alert = new("--alert")
        {
            Description = "Changes an alert's threshold, as in first_token_slow=0.5 (it is over at half of that, or at twice where less is worse); NAME=off drops it. Can be repeated.",
        };
        Option<int?> perKey = new("--max-per-key")
        {
            Description = "Maximum number of requests of one API key, running and waiting. Default: with several keys three quarters of all.",
        };
        Option<int?> perMinute = new("--tokens-per-minute") { Description = "Maximum number of tokens computed per minute for one API key. Default: no limit." };
        Option<int?> priority = new("--max-priority") { Description = "Highest retention priority a request may ask for. Default: with several keys 35, else 100." };
        Option<int> connections = new("--max-connections") { Description = "Maximum number of connections; idle ones make room.", DefaultValueFactory = _ => 512 };
        Option<double> drain = new("--drain-delay")
        {
            Description = "On shutdown, seconds that /ready says no while requests are still taken.", DefaultValueFactory = _ => 0,
        };
        Option<bool> log = new("--log-requests") { Description = "Log one line per request to standard error: figures, never text." };

        Command command = new(Name, """
            Serve a model over HTTP, as OpenAI's clients speak it: /v1/chat/completions, /v1/completions, /v1/models; /health, /ready, /metrics, and a page at /.
            SIGTERM and Ctrl-C let running requests end; a second one cuts them.
            """);
        model.AddTo(command);
        foreach (Option option in new Option[]
            {
                host, port, apiKey, apiKeyFile, insecure, shareCache, cors, allowHost, name, template, plain, sequences, queued, prompt, answer, body, timeout, grace,
                perKey, perMinute, priority, connections, drain, operatorKeyFile, alert, log,
            })
        {
            command.Add(option);
        }
        command.SetAction(async (parsed, cancellation) =>
        {
            KvServerOptions options = new()
            {
                ModelPath = parsed.GetValue(model.Model)!,
                ModelId = parsed.GetValue(name),
                Engine = model.Engine(parsed) with { MaxSequences = parsed.GetValue(sequences) },
                ChatTemplate = parsed.GetValue(template),
                PlainContinuation = parsed.GetValue(plain),
                Host = parsed.GetValue(host)!,
                Port = parsed.GetValue(port),
                ApiKeys = [.. parsed.GetValue(apiKey) ?? [], .. Lines(parsed.GetValue(apiKeyFile))],
                Insecure = parsed.GetValue(insecure),
                ShareCache = parsed.GetValue(shareCache),
                CorsOrigins = parsed.GetValue(cors) ?? [],
                AllowedHosts = parsed.GetValue(allowHost) ?? [],
                MaxQueued = parsed.GetValue(queued),
                MaxPromptTokens = parsed.GetValue(prompt),
                MaxAnswerTokens = parsed.GetValue(answer),
                MaxBodyBytes = (int)Math.Min(ModelOptions.Bytes(parsed.GetValue(body)!), int.MaxValue),
                RequestTimeout = Seconds(parsed.GetValue(timeout)),
                ShutdownGrace = Seconds(parsed.GetValue(grace)),
                OperatorKeys = Lines(parsed.GetValue(operatorKeyFile)),
                Alerts = Alerts(parsed.GetValue(alert) ?? []),
                MaxRequestsPerKey = parsed.GetValue(perKey),
                TokensPerMinutePerKey = parsed.GetValue(perMinute),
                MaxPriority = parsed.GetValue(priority),
                MaxConnections = parsed.GetValue(connections),
                DrainDelay = Seconds(parsed.GetValue(drain)),
                LogRequests = parsed.GetValue(log),
            };
            return await ServeAsync(options, parsed.GetValue(model.Stats), parsed.InvocationConfiguration.Error, cancellation).ConfigureAwait(false);
        });
        return command;
    }

    static async Task<int> ServeAsync(KvServerOptions options, bool stats, TextWriter notes, CancellationToken cancellation)
    {
        KvServer server = new(options);
        await using (server.ConfigureAwait(false))
        {
            TaskCompletionSource first = new(TaskCreationOptions.RunContinuationsAsynchronously);
            using CancellationTokenSource second = new();
            using CancellationTokenRegistration ended = cancellation.Register(() => first.TrySetResult());
            using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Signalled),
                terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Signalled);
            await server.StartAsync(CancellationToken.None).ConfigureAwait(false);
            await notes.WriteLineAsync($"kvcuda: listening on {server.Address.GetLeftPart(UriPartial.Authority)}; loading {options.ModelPath}").ConfigureAwait(false);
            Task<KvEngine> loading = server.GetEngineAsync(CancellationToken.None);
            if (await Task.WhenAny(loading, first.Task).ConfigureAwait(false) == loading)
            {
                KvEngine engine = await loading.ConfigureAwait(false);
                await notes.WriteLineAsync($"kvcuda: ready on {engine.Device}; context {engine.MaxContext} tokens, {options.Engine.MaxSequences} requests at once").ConfigureAwait(false);
                await first.Task.ConfigureAwait(false);
                await notes.WriteLineAsync("kvcuda: stopping; running requests may end. Once more cuts them.").ConfigureAwait(false);
                await server.StopAsync(second.Token).ConfigureAwait(false);
                if (stats)
                {
                    StatsPrinter.Print(engine.Model.Backend.Counters);
                }
            }
            return CommandLine.Done;

            void Signalled(PosixSignalContext signal)
            {
                signal.Cancel = true;
                if (!first.TrySetResult())
                {
                    second.Cancel();
                }
            }
        }
    }

    static TimeSpan Seconds(double seconds) => seconds is >= 0 and <= 1e6 ? TimeSpan.FromSeconds(seconds)
        : throw new InvalidRequestException($"{seconds} seconds were asked for; give a number from 0 to a million.");

    static List<KvAlertRule> Alerts(string[] changes)
    {
        List<KvAlertRule> rules = [.. KvAlertRule.Defaults];
        foreach (string change in changes)
        {
            string[] parts = change.Split('=');
            int at = rules.FindIndex(rule => rule.Name == parts[0]);
            double raise = 0;
            if (parts.Length != 2 || at < 0 || (parts[1] != "off" && !(double.TryParse(parts[1], System.Globalization.CultureInfo.InvariantCulture, out raise) && raise > 0)))
            {
                throw new InvalidRequestException($"'{change}' changes no alert; write NAME=NUMBER or NAME=off, with one of "
                    + string.Join(", ", KvAlertRule.Defaults.Select(rule => rule.Name)) + ".");
            }
            if (parts[1] == "off")
            {
                rules.RemoveAt(at);
            }
            else
            {
                rules[at] = rules[at] with { Raise = raise, Clear = rules[at].Clear < rules[at].Raise ? raise / 2 : raise * 2 };
            }
        }
        return rules;
    }

    static string[] Lines(string? file) => file is null ? []
        : [.. File.ReadLines(file).Select(line => line.Trim()).Where(line => line.Length > 0)];
}
