using System.Net;
using KvCuda.Engine;

namespace KvCuda.Server;

/// <summary>What is served, to whom, and how much of it at once. The defaults serve this machine's own users.</summary>
public sealed record KvServerOptions
{
    /// <summary>The model folder.</summary>
    public required string ModelPath { get; init; }

    /// <summary>What the model is called; null: the name of its folder.</summary>
    public string? ModelId { get; init; }

    /// <summary>How the engine is set up; <c>MaxSequences</c> requests run at once.</summary>
    public KvEngineOptions Engine { get; init; } = new();

    /// <summary>A file with a chat template (Jinja); null: the model folder's own.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Where the model has no chat template: messages are one running text that the model goes on with, instead of an error.</summary>
    public bool PlainContinuation { get; init; }

    /// <summary>The address to listen on: an IP address, <c>localhost</c>, or <c>*</c> for all.</summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>The port; 0 takes a free one.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>Keys of which every request must bring one (<c>Authorization: Bearer KEY</c>); none: nobody is asked.</summary>
    public IReadOnlyList<string> ApiKeys { get; init; } = [];

    /// <summary>
    /// Keys that see what the engine is doing, for all callers (<c>/v1/kvcuda/events</c>); they are API keys too. None: with one API key or none everybody who may
    /// ask sees it, with several nobody does.
    /// </summary>
    public IReadOnlyList<string> OperatorKeys { get; init; } = [];

    /// <summary>What is worth an alert: on the page, as the gauge <c>kvcuda_alert</c>, in the log, and to <see cref="OnAlert"/>.</summary>
    public IReadOnlyList<KvAlertRule> Alerts { get; init; } = KvAlertRule.Defaults;

    /// <summary>Is told when an alert is raised and when it is over.</summary>
    public Action<KvAlert>? OnAlert { get; init; }

    /// <summary>Listen on other machines' networks without a key.</summary>
    public bool Insecure { get; init; }

    /// <summary>
    /// Callers with different keys find each other's cached tokens. By default they do not: how fast an answer begins would tell one whether another had
    /// the same prompt.
    /// </summary>
    public bool ShareCache { get; init; }

    /// <summary>Origins (<c>https://app.example</c>) whose pages may call the server; none: only its own page.</summary>
    public IReadOnlyList<string> CorsOrigins { get; init; } = [];

    /// <summary>
    /// Names that requests may call the server by, beside localhost and loopback addresses, where it listens on loopback only: a name that somebody else
    /// controls may point here (DNS rebinding). Elsewhere: if given, the only names.
    /// </summary>
    public IReadOnlyList<string> AllowedHosts { get; init; } = [];

    /// <summary>Longest request body.</summary>
    public int MaxBodyBytes { get; init; } = 2 << 20;

    /// <summary>Longest prompt; null: what the context holds.</summary>
    public int? MaxPromptTokens { get; init; }

    /// <summary>Most tokens of one answer, whatever was asked for; null: what the context holds.</summary>
    public int? MaxAnswerTokens { get; init; }

    /// <summary>Requests that may wait beside those that run; further ones are told to come back.</summary>
    public int MaxQueued { get; init; } = 64;

    /// <summary>Of all those, requests with one API key; null: with more than one key three quarters of the places, else all.</summary>
    public int? MaxRequestsPerKey { get; init; }

    /// <summary>Tokens that are computed a minute for one API key, prompts (without what was cached) and answers; null: as many as it likes.</summary>
    public int? TokensPerMinutePerKey { get; init; }

    /// <summary>
    /// The highest retention priority that a request may ask for; null: with more than one key 35, which tokens have that nothing was said of, else 100.
    /// Whoever may ask for more than others can push their tokens out of the cache.
    /// </summary>
    public int? MaxPriority { get; init; }

    /// <summary>Most open connections. Beyond them, those that are idle make room, and a few more are there for probes.</summary>
    public int MaxConnections { get; init; } = 512;

    /// <summary>How long a new connection may send nothing.</summary>
    public TimeSpan FirstByteTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long the server, told to stop, still takes requests while <c>/ready</c> says no: the time a load balancer needs to notice.</summary>
    public TimeSpan DrainDelay { get; init; }

    /// <summary>The longest a request takes, waiting included.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How long running requests may go on when the server stops.</summary>
    public TimeSpan ShutdownGrace { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Log a line per request: its figures, never its text.</summary>
    public bool LogRequests { get; init; }

    /// <summary>Finds what is out of range, or would be open to everybody without having been asked for.</summary>
    /// <exception cref="InvalidRequestException">The message says what and why.</exception>
    public void Validate()
    {
        Engine.Validate();
        Require(Directory.Exists(ModelPath), $"There is no model folder at {Path.GetFullPath(ModelPath)}.");
        Require(ChatTemplate is null || File.Exists(ChatTemplate), $"There is no chat template at {ChatTemplate}.");
        Require(Port is >= 0 and <= 65535, $"The port is {Port}; it must be from 0 to 65535.");
        Require(Alerts.All(rule => double.IsFinite(rule.Raise) && double.IsFinite(rule.Clear) && rule.Raise != rule.Clear && rule.For >= TimeSpan.Zero)
            && Alerts.Select(rule => rule.Name).Distinct(StringComparer.Ordinal).Count() == Alerts.Count,
            "Alerts must have names of their own, two finite thresholds that differ, and times that are not negative.");
        Require(ApiKeys.Concat(OperatorKeys).All(key => key.Length >= 8 && key.All(c => c is > ' ' and < '\u007F')),
            "An API key must have at least 8 characters, all of them visible ASCII.");
        foreach (string origin in CorsOrigins)
        {
            Require(Uri.TryCreate(origin, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https"
                && origin == uri.GetLeftPart(UriPartial.Authority), $"'{origin}' is no origin; write it as https://app.example or http://localhost:3000.");
        }
        Require(MaxBodyBytes >= 1024, $"MaxBodyBytes is {MaxBodyBytes}; it must be at least 1024.");
        Require(MaxPromptTokens is null or >= 1, $"MaxPromptTokens is {MaxPromptTokens}; it must be at least 1.");
        Require(MaxAnswerTokens is null or >= 1, $"MaxAnswerTokens is {MaxAnswerTokens}; it must be at least 1.");
        Require(MaxQueued >= 0, $"MaxQueued is {MaxQueued}; it must not be negative.");
        Require(MaxRequestsPerKey is null or >= 1, $"MaxRequestsPerKey is {MaxRequestsPerKey}; it must be at least 1.");
        Require(TokensPerMinutePerKey is null or >= 1, $"TokensPerMinutePerKey is {TokensPerMinutePerKey}; it must be at least 1.");
        Require(MaxPriority is null or (>= 0 and <= 100), $"MaxPriority is {MaxPriority}; it must be from 0 to 100.");
        Require(FirstByteTimeout > TimeSpan.Zero && FirstByteTimeout <= TimeSpan.FromHours(1), $"The first-byte timeout is {FirstByteTimeout}; it must be positive, an hour at most.");
        Require(DrainDelay >= TimeSpan.Zero && DrainDelay <= TimeSpan.FromHours(1), $"The drain delay is {DrainDelay}; it must not be negative, an hour at most.");
        Require(MaxConnections >= 1, $"MaxConnections is {MaxConnections}; it must be at least 1.");
        Require(RequestTimeout > TimeSpan.Zero && RequestTimeout <= TimeSpan.FromDays(1), $"The request timeout is {RequestTimeout}; it must be positive, a day at most.");
        Require(ShutdownGrace >= TimeSpan.Zero && ShutdownGrace <= TimeSpan.FromHours(1), $"The shutdown grace is {ShutdownGrace}; it must not be negative, an hour at most.");
        Require(IPAddress.IsLoopback(Address) || ApiKeys.Count + OperatorKeys.Count > 0 || Insecure,
            $"Listening on {Host} lets everybody who reaches this machine use the model. Give an API key (--api-key-file FILE), "
            + "or say that this is meant (--insecure).");
    }

    internal int Places => Engine.MaxSequences + MaxQueued;

    internal int PlacesPerKey => MaxRequestsPerKey ?? (ApiKeys.Count > 1 ? Math.Max(1, Places * 3 / 4) : Places);

    internal int HighestPriority => MaxPriority ?? (ApiKeys.Count > 1 ? 35 : 100);

    internal bool OnLoopback => IPAddress.IsLoopback(Address);

    internal IPAddress Address => Host switch
    {
        "localhost" => IPAddress.Loopback,
        "*" => IPAddress.IPv6Any,
        _ => IPAddress.TryParse(Host, out IPAddress? address) ? address
            : throw new InvalidRequestException($"'{Host}' is no address to listen on; give an IP address, localhost, or * for all."),
    };

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidRequestException(message);
        }
    }
}
