using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace KvCuda.Server;

/// <summary>Bodies: JSON of a bounded size and depth that comes in a bounded time, or one clear error.</summary>
static class RequestBody
{
    static readonly TimeSpan patience = TimeSpan.FromSeconds(30);

    public static async Task<T> ReadAsync<T>(HttpRequest request, JsonTypeInfo<T> type, CancellationToken cancellation)
    {
        // Pages send forms and plain text anywhere without asking; for JSON their browser asks first.
        if (!request.HasJsonContentType())
        {
            throw new ApiException(StatusCodes.Status415UnsupportedMediaType, "invalid_request_error", "The body must be JSON, and its Content-Type application/json.");
        }
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        deadline.CancelAfter(patience);
        try
        {
            return await JsonSerializer.DeserializeAsync(request.Body, type, deadline.Token).ConfigureAwait(false)
                ?? throw ApiException.Bad("The body is null; it must be a JSON object.", null);
        }
        catch (JsonException error)
        {
            throw Malformed(error);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new ApiException(StatusCodes.Status408RequestTimeout, "invalid_request_error", $"The body did not come within {patience.TotalSeconds:F0} seconds.");
        }
    }

    // The serializer's own text names types of ours.
    static ApiException Malformed(JsonException error)
    {
        string where = error.LineNumber is { } line && error.BytePositionInLine is { } position ? $" (line {line + 1}, byte {position + 1})" : "";
        if (error.Message.Contains("maximum", StringComparison.OrdinalIgnoreCase))
        {
            return ApiException.Bad($"The body is nested deeper than {OpenAiJson.MaxDepth} levels{where}.", null);
        }
        string? parameter = error.Path is { Length: > 2 } path && path.StartsWith("$.", StringComparison.Ordinal) ? path[2..] : null;
        if (parameter?.Length > 100)
        {
            parameter = parameter[..100];
        }
        if (parameter is null)
        {
            return ApiException.Bad($"The body is no valid JSON object{where}.", null);
        }
        string what = error.Message.Contains("could not be mapped", StringComparison.Ordinal) ? "is not a parameter that this server knows"
            : error.Message.Contains("uplicate", StringComparison.Ordinal) ? "is given twice"
            : error.InnerException is InvalidOperationException or FormatException || error.Message.Contains("could not be converted", StringComparison.Ordinal)
                ? $"must be {Expected(error.Message)}"
            : "is malformed JSON";
        return ApiException.Bad($"{parameter} {what}{where}.", parameter);
    }

    static string Expected(string message) =>
        message.Contains("Dictionary", StringComparison.Ordinal) ? "an object"
        : message.Contains("Collections", StringComparison.Ordinal) ? "a list"
        : message.Contains("[System.Int", StringComparison.Ordinal) || message.Contains(" System.Int", StringComparison.Ordinal) ? "a whole number in range"
        : message.Contains("System.Single", StringComparison.Ordinal) || message.Contains("System.Double", StringComparison.Ordinal) ? "a number in range"
        : message.Contains("Boolean", StringComparison.Ordinal) ? "true or false"
        : message.Contains("System.String", StringComparison.Ordinal) ? "a text" : "an object";
}
