using System.Buffers;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace KvCuda.Server;

/// <summary>
/// What a caller is told instead of an answer: a status, and OpenAI's error object
/// (<c>{"error":{"message","type","param","code"}}</c>).
/// </summary>
sealed class ApiException(int status, string type, string message, string? parameter = null, string? code = null, int? retryAfterSeconds = null)
    : Exception(message)
{
    public int Status => status;

    public string? Parameter => parameter;

    /// <summary>Something about the request is wrong or cannot be done.</summary>
    public static ApiException Bad(string message, string? parameter, string? code = null) =>
        new(StatusCodes.Status400BadRequest, "invalid_request_error", message, parameter, code);

    /// <summary>What can be told outside of an error that happened inside; null: nothing, it is ours to know.</summary>
    public static ApiException? Of(Exception error) => error switch
    {
        ApiException own => own,
        BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => new(StatusCodes.Status413PayloadTooLarge, "invalid_request_error",
            "The body is longer than this server takes (--max-body)."),
        BadHttpRequestException { StatusCode: StatusCodes.Status408RequestTimeout } => new(StatusCodes.Status408RequestTimeout, "invalid_request_error",
            "The body came too slowly."),
        BadHttpRequestException malformed => new(malformed.StatusCode, "invalid_request_error", "The request is malformed."),
        QueueFullException => new(StatusCodes.Status429TooManyRequests, "rate_limit_error", error.Message, code: "rate_limit_exceeded", retryAfterSeconds: 1),
        ModelOutputException => new(StatusCodes.Status500InternalServerError, "server_error", error.Message, code: "model_output"),
        InvalidRequestException or KvBudgetException => Bad(error.Message, null),
        _ => null,
    };

    /// <summary>The error of everything that is not told outside.</summary>
    public static ApiException Internal { get; } = new(StatusCodes.Status500InternalServerError, "server_error", "The server failed at this request; its log says how.");

    /// <summary>Writes the error object.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteStartObject("error");
        json.WriteString("message", Message);
        json.WriteString("type", type);
        json.WriteString("param", parameter);
        json.WriteString("code", code);
        json.WriteEndObject();
        json.WriteEndObject();
        json.Flush();
    }

    /// <summary>Answers a request with it.</summary>
    public Task RespondAsync(HttpResponse response)
    {
        response.StatusCode = status;
        if (retryAfterSeconds is { } seconds)
        {
            response.Headers.RetryAfter = seconds.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
        if (status == StatusCodes.Status401Unauthorized)
        {
            response.Headers.WWWAuthenticate = "Bearer";
        }
        return response.WriteJsonAsync(WriteTo);
    }
}

/// <summary>JSON as a whole response.</summary>
static class JsonResponse
{
    /// <summary>How everything is written: not for HTML, so only what JSON itself wants is escaped.</summary>
    public static JsonWriterOptions Options { get; } = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Task WriteJsonAsync(this HttpResponse response, Action<Utf8JsonWriter> write)
    {
        ArrayBufferWriter<byte> body = new();
        using (Utf8JsonWriter json = new(body, Options))
        {
            write(json);
        }
        response.ContentType = "application/json";
        response.ContentLength = body.WrittenCount;
        return response.Body.WriteAsync(body.WrittenMemory, response.HttpContext.RequestAborted).AsTask();
    }
}
