using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using KvCuda.Engine;
using KvCuda.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;
using Microsoft.AspNetCore.Routing.Template;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace KvCuda.Server;

/// <summary>What is not an answer of the model: what there is, how it is, and the page.</summary>
sealed class Endpoints(Guard guard, ModelSource model, PrometheusText metrics, HealthCheckService health)
{
    static readonly byte[] page = Page();
    static readonly string pagePolicy = Policy(Encoding.UTF8.GetString(page));

    public void Map(IEndpointRouteBuilder routes)
    {
        Get("/v1/models", ModelsAsync);
        Get("/v1/models/{id}", ModelAsync);
        Get("/metrics", MetricsAsync);
        Get("/health", AliveAsync);
        Get("/ready", ReadyAsync);
        Get("/", PageAsync);
        routes.MapFallback("/{**path}", NotFoundAsync);

        // HEAD is what uptime checks and load balancers send; the host leaves the body away.
        void Get(string path, RequestDelegate answer) => routes.MapMethods(path, ["GET", "HEAD"], answer);
    }

    Task ModelsAsync(HttpContext context)
    {
        guard.Authenticate(context.Request);
        return context.Response.WriteJsonAsync(json =>
        {
            json.WriteStartObject();
            json.WriteString("object", "list");
            json.WriteStartArray("data");
            WriteModel(json);
            json.WriteEndArray();
            json.WriteEndObject();
        });
    }

    Task ModelAsync(HttpContext context)
    {
        guard.Authenticate(context.Request);
        return context.Request.RouteValues["id"] as string == model.Id ? context.Response.WriteJsonAsync(WriteModel)
            : throw new ApiException(StatusCodes.Status404NotFound, "invalid_request_error", $"This server's model is {model.Id}.", "model", "model_not_found");
    }

    void WriteModel(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("id", model.Id);
        json.WriteString("object", "model");
        json.WriteNumber("created", model.Created);
        json.WriteString("owned_by", "kvcuda");
        (KvEngine engine, ChatFormat? format) = model.Get();
        json.WriteStartObject("kvcuda");
        json.WriteNumber("context", engine.MaxContext);
        json.WriteBoolean("chat", format is not null);
        json.WriteString("device", engine.Device);
        json.WriteString("sharing", engine.Sharing.ToString());
        json.WriteNumber("kv_bytes_per_token", engine.KvBytesPerToken);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    async Task MetricsAsync(HttpContext context)
    {
        guard.Authenticate(context.Request);
        context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
        await context.Response.WriteAsync(await metrics.WriteAsync(context.RequestAborted).ConfigureAwait(false), context.RequestAborted).ConfigureAwait(false);
    }

    static Task AliveAsync(HttpContext context) => context.Response.WriteJsonAsync(json => WriteStatus(json, "alive"));

    // Anybody may ask, so it tells how it is and not why.
    async Task ReadyAsync(HttpContext context)
    {
        string status = model.IsDraining ? "stopping" : "loading";
        string? chat = null;
        if (!model.IsDraining && !model.IsLoading)
        {
            HealthReport report = await health.CheckHealthAsync(context.RequestAborted).ConfigureAwait(false);
            status = report.Status switch
            {
                HealthStatus.Healthy => "ready",
                HealthStatus.Degraded when report.Entries.Values.Any(entry => entry.Data.GetValueOrDefault("saturated") is true) => "saturated",
                HealthStatus.Degraded => "ready",
                _ => "failed",
            };
            // Whether chats can be answered: by the model's template, as one running text, or not.
            chat = report.Entries.Values.Select(entry => entry.Data.GetValueOrDefault("chat_format") as string).FirstOrDefault();
        }
        context.Response.StatusCode = status is "ready" or "saturated" ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        await context.Response.WriteJsonAsync(json => WriteStatus(json, status, chat)).ConfigureAwait(false);
    }

    static void WriteStatus(Utf8JsonWriter json, string status, string? chat = null)
    {
        json.WriteStartObject();
        json.WriteString("status", status);
        if (chat is not null)
        {
            json.WriteString("chat_format", chat);
        }
        json.WriteEndObject();
    }

    static Task PageAsync(HttpContext context)
    {
        context.Response.ContentType = "text/html; charset=utf-8";
        context.Response.ContentLength = page.Length;
        context.Response.Headers.ContentSecurityPolicy = pagePolicy;
        context.Response.Headers["Referrer-Policy"] = "no-referrer";
        return context.Response.Body.WriteAsync(page, context.RequestAborted).AsTask();
    }

    static Task NotFoundAsync(HttpContext context)
    {
        string[] methods = [.. context.RequestServices.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>()
            .Where(endpoint => endpoint.RoutePattern.RawText is not "/{**path}" && Matches(endpoint.RoutePattern, context.Request.Path))
            .SelectMany(endpoint => endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? []).Distinct()];
        if (methods.Length == 0)
        {
            throw new ApiException(StatusCodes.Status404NotFound, "invalid_request_error",
                "There is no such endpoint. There are POST /v1/chat/completions, /v1/completions, /tokenize, /detokenize and /apply-template, GET /v1/models, /health, /ready, /metrics and /.", code: "unknown_url");
        }
        context.Response.Headers.Allow = string.Join(", ", methods);
        throw new ApiException(StatusCodes.Status405MethodNotAllowed, "invalid_request_error",
            $"This endpoint takes {string.Join(" and ", methods)}, not {context.Request.Method}.", code: "method_not_allowed");
    }

    static bool Matches(RoutePattern pattern, PathString path) =>
        new TemplateMatcher(new(pattern), []).TryMatch(path, []);

    static byte[] Page()
    {
        // What both views share is in talk.js, which begins when all is there.
        string script = Resource("talk.js"), live = Resource("live.js");
        int begins = script.IndexOf("messages.forEach(turn);", StringComparison.Ordinal);
        return Encoding.UTF8.GetBytes(Resource("page.html").Replace("<style></style>", $"<style>{Resource("page.css")}</style>", StringComparison.Ordinal)
            .Replace("<script></script>", $"<script>{script[..begins]}{live}{script[begins..]}</script>", StringComparison.Ordinal));
    }

    static string Resource(string name)
    {
        using StreamReader reader = new(typeof(Endpoints).Assembly.GetManifestResourceStream(name)!);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }

    // Only the page's own script and style run, and they talk to this server only.
    static string Policy(string html)
    {
        return $"default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src data:; script-src {Hash("script")}; style-src {Hash("style")}";

        string Hash(string element)
        {
            int start = html.IndexOf($"<{element}>", StringComparison.Ordinal) + element.Length + 2, end = html.IndexOf($"</{element}>", StringComparison.Ordinal);
            return $"'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(html[start..end])))}'";
        }
    }
}
