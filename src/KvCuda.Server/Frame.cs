using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;

namespace KvCuda.Server;

/// <summary>What is around every request: who may ask, headers, counting, and errors as one JSON object each.</summary>
sealed partial class Frame(Guard guard, ServerMetrics metrics, ILogger logger)
{
    const int CallerWentAway = 499; // nginx' word for it; nobody receives it

    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        HttpResponse response = context.Response;
        response.Headers.XContentTypeOptions = "nosniff";
        response.Headers.CacheControl = "no-store";
        int? status = null;
        ConnectionTable.Entry? connection = context.Features.Get<ConnectionTable.Entry>();
        connection?.Begin();
        try
        {
            if (connection is { ProbesOnly: true } && context.Request.Path.Value is not ("/health" or "/ready" or "/metrics"))
            {
                response.Headers.Connection = "close";
                throw ModelSource.Unavailable("There are as many connections as this server takes.", "too_many_connections");
            }
            guard.CheckOrigin(context.Request);
            await next(context).ConfigureAwait(false);
        }
        catch (Exception error) when (context.RequestAborted.IsCancellationRequested && error is OperationCanceledException or IOException)
        {
            status = CallerWentAway;
        }
#pragma warning disable CA1031 // whatever it is, the caller gets one clear error, and the server goes on
        catch (Exception error)
#pragma warning restore CA1031
        {
            ApiException? told = ApiException.Of(error);
            if (told is null)
            {
                LogFailed(error, context.Request.Method, context.GetEndpoint()?.DisplayName ?? "");
            }
            status = (told ?? ApiException.Internal).Status;
            await TellAsync(context, told ?? ApiException.Internal).ConfigureAwait(false);
        }
        finally
        {
            connection?.End();
        }
        metrics.Responded((context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? "", status ?? response.StatusCode);
    }

    static async Task TellAsync(HttpContext context, ApiException error)
    {
        try
        {
            if (!context.Response.HasStarted)
            {
                await error.RespondAsync(context.Response).ConfigureAwait(false);
            }
            else if (context.Response.ContentType?.StartsWith("text/event-stream", StringComparison.Ordinal) is true)
            {
                await Completions.BreakOffAsync(context, error).ConfigureAwait(false);
            }
            else
            {
                context.Abort();
            }
        }
        catch (Exception gone) when (gone is OperationCanceledException or IOException)
        {
            context.Abort();
        }
    }

    [LoggerMessage(2, LogLevel.Error, "{Method} {Endpoint} failed.")]
    partial void LogFailed(Exception error, string method, string endpoint);
}
