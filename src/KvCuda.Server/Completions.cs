using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace KvCuda.Server;

/// <summary>
/// <c>POST /v1/chat/completions</c> and <c>POST /v1/completions</c>: a body becomes tokens and options, the engine's pieces become JSON.
/// A caller who goes away, who is too slow or who is cut off cancels the request, which gives its pages back at the engine's next step.
/// </summary>
sealed partial class Completions(KvServerOptions options, Guard guard, Admission admission, ModelSource model, ChatTelemetry telemetry,
    ILogger logger, CancellationToken cut)
{
    const int ChatTokens = 1024, TextTokens = 16; // where nothing else is asked for; the latter is what OpenAI's reference says

    /// <summary>A request in the engine's terms.</summary>
    sealed record Job(IReadOnlyList<int> Prompt, GenerateOptions Generate, int PromptChars, AnswerParser? Parser = null);

    public Task ChatAsync(HttpContext context) => RunAsync(context, "chat", OpenAiJson.Strict.ChatCompletionRequest, (asked, salt) =>
    {
        GenerateOptions generate = RequestMapping.Generate(asked, salt, ChatTokens);
        IReadOnlyList<Text.ChatMessage> messages = RequestMapping.Messages(asked);
        ChatContext variables = RequestMapping.Context(asked);
        HashSet<string> tools = RequestMapping.Tools(asked);
        return (engine, format) =>
        {
            if (format is null)
            {
                throw ApiException.Bad($"The model {model.Id} has no chat template, so how it writes conversations is not known. Serve it with one (--template FILE), "
                    + "with --plain-continuation (messages are one running text), or use /v1/completions.", "messages", "no_chat_template");
            }
            if (tools.Count > 0 && !format.KnowsTools)
            {
                throw ApiException.Bad("The model's chat template does not tell it of tools; tool_choice none leaves them out.", "tools", "unsupported_parameter");
            }
            string text = format.Render(messages, variables);
            CheckChars(text.Length, engine);
            return new(Truncated(format.Encode(text, asked.AddSpecialTokens), asked, engine), generate, text.Length,
                new AnswerParser(tools, thinking: text.AsSpan().TrimEnd().EndsWith("<think>")));
        };
    });

    public Task TextAsync(HttpContext context) => RunAsync(context, "text_completion", OpenAiJson.Strict.CompletionRequest, (asked, salt) =>
    {
        GenerateOptions generate = RequestMapping.Generate(asked, salt, TextTokens);
        (string? text, IReadOnlyList<int>? tokens) = RequestMapping.Prompt(asked);
        return (engine, _) =>
        {
            CheckChars(text?.Length ?? 0, engine);
            SpecialTokens special = (asked.AddSpecialTokens is false ? SpecialTokens.None : SpecialTokens.Add)
                | (asked.KvCuda?.ParseSpecial is false ? SpecialTokens.None : SpecialTokens.Parse);
            return new(Truncated(tokens ?? engine.Tokenizer!.EncodeToIds(text!, special), asked, engine), generate, text?.Length ?? 0);
        };
    });

    // The last so many tokens of a prompt, where that was asked for.
    IReadOnlyList<int> Truncated(IReadOnlyList<int> prompt, OpenAiRequest asked, KvEngine engine)
    {
        int most = asked.TruncatePromptTokens is -1 ? MostTokens(engine) : asked.TruncatePromptTokens ?? int.MaxValue;
        return prompt.Count <= most ? prompt : [.. prompt.Skip(prompt.Count - most)];
    }

    async Task RunAsync<T>(HttpContext context, string operation, JsonTypeInfo<T> type,
        Func<T, string, Func<KvEngine, ChatFormat?, Job>> understand)
        where T : OpenAiRequest
    {
        string salt = guard.Authenticate(context.Request);
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, cut);
        try
        {
            ThrowIfStopping();
            T asked = await RequestBody.ReadAsync(context.Request, type, deadline.Token).ConfigureAwait(false);
            if (asked.Model is { } name && !string.Equals(name, model.Id, StringComparison.Ordinal))
            {
                throw new ApiException(StatusCodes.Status404NotFound, "invalid_request_error", $"This server's model is {model.Id}.", "model", "model_not_found");
            }
            Func<KvEngine, ChatFormat?, Job> prepare;
            try
            {
                prepare = understand(asked, salt);
            }
            catch (InvalidOperationException error)
            {
                throw ApiException.Bad(error.InnerException is System.Text.DecoderFallbackException
                    ? "The body has a text that is no UTF-8." : "The body has a text with half of a surrogate pair, which is no Unicode.", null);
            }
            using Admission.Ticket ticket = admission.Enter(salt);
            deadline.CancelAfter(options.RequestTimeout);
            (KvEngine engine, ChatFormat? format) = model.Get();
            Job job = prepare(engine, format);
            job = job with { Generate = job.Generate with { MaxTokens = Math.Min(job.Generate.MaxTokens, options.MaxAnswerTokens ?? int.MaxValue) } };
            CheckTokens(job.Prompt, job.Generate, engine);
            CheckPriority(job.Generate);
            await AnswerAsync(context, operation, asked, engine, job, ticket, deadline).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            if (context.RequestAborted.IsCancellationRequested)
            {
                throw; // nobody is there to be told
            }
            ThrowIfStopping();
            throw new ApiException(StatusCodes.Status504GatewayTimeout, "server_error", $"The request took longer than {options.RequestTimeout.TotalSeconds:F0} seconds.", code: "timeout");
        }
    }

    void ThrowIfStopping()
    {
        if (model.IsStopping || cut.IsCancellationRequested)
        {
            throw ModelSource.Unavailable("The server is stopping.", "stopping");
        }
    }

    async Task AnswerAsync(HttpContext context, string operation, OpenAiRequest asked, KvEngine engine, Job job, Admission.Ticket ticket,
        CancellationTokenSource deadline)
    {
        bool chat = operation == "chat", stream = asked.Stream is true, usage = asked.StreamOptions?.IncludeUsage is true;
        string id = (chat ? "chatcmpl-" : "cmpl-") + Guid.NewGuid().ToString("N");
        context.Response.Headers["x-request-id"] = RequestId(context.Request) ?? id;
        CompletionWriter writer = new(chat, id, model.Id, engine.Tokenizer!, usage, job.PromptChars, job.Parser);
        using ChatOperation measured = telemetry.Begin(model.Id, Described(asked, job.Generate), stream, operation);
        measured.Identify(id, conversationId: null);
        try
        {
            IAsyncEnumerable<GeneratedPiece> pieces = engine.GenerateAsync(job.Prompt, job.Generate, deadline.Token);
            GenerationResult result = stream
                ? await StreamAsync(context, pieces, writer, usage, measured, deadline).ConfigureAwait(false)
                : await WholeAsync(context, pieces, writer, job.Generate.Logprobs is not null).ConfigureAwait(false);
            measured.End(result);
            ticket.Charge(result.PromptTokens - result.CachedTokens + result.GeneratedTokens);
            if (options.LogRequests)
            {
                LogAnswer(operation, result.PromptTokens, result.CachedTokens, result.GeneratedTokens, result.QueueTime.TotalMilliseconds,
                    result.TimeToFirstToken.TotalMilliseconds, result.DecodeTokensPerSecond);
            }
        }
        catch (Exception error)
        {
            measured.Fail(error);
            throw;
        }
    }

    static async Task<GenerationResult> WholeAsync(HttpContext context, IAsyncEnumerable<GeneratedPiece> pieces, CompletionWriter writer, bool withLogprobs)
    {
        List<TokenLogprob>? logprobs = withLogprobs ? [] : null;
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in pieces.ConfigureAwait(false))
        {
            if (piece.Logprob is { } logprob)
            {
                logprobs?.Add(logprob);
            }
            result = piece.Result ?? result;
        }
        await context.Response.WriteJsonAsync(json => writer.WriteWhole(json, result!, logprobs)).ConfigureAwait(false);
        return result!;
    }

    // Server-sent events (WHATWG HTML, 9.2). Nothing is sent before the first piece is there: until then an error is a status. Pieces that are there
    // already go out together. A reader who does not read makes this method wait, not the engine.
    static async Task<GenerationResult> StreamAsync(HttpContext context, IAsyncEnumerable<GeneratedPiece> pieces, CompletionWriter writer, bool usage,
        ChatOperation measured, CancellationTokenSource deadline)
    {
        PipeWriter body = context.Response.BodyWriter;
        using Utf8JsonWriter json = new(body, JsonResponse.Options);
        GenerationResult? result = null;
        bool pending = false;
        IAsyncEnumerator<GeneratedPiece> source = pieces.GetAsyncEnumerator(CancellationToken.None);
        await using (source.ConfigureAwait(false))
        {
            while (true)
            {
                Task<bool> next = source.MoveNextAsync().AsTask();
                if (pending && !next.IsCompleted)
                {
                    pending = false;
                    if (!await TryFlushAsync(body, deadline.Token).ConfigureAwait(false))
                    {
                        await deadline.CancelAsync().ConfigureAwait(false);
                        await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // an enumerator ends when nobody waits for it
                        deadline.Token.ThrowIfCancellationRequested();
                    }
                }
                if (!await next.ConfigureAwait(false))
                {
                    break;
                }
                GeneratedPiece piece = source.Current;
                result = piece.Result ?? result;
                if (piece.Text.Length == 0 && piece.Result is null && piece.Logprob is null)
                {
                    continue; // half of a character, or what may become a stop text
                }
                if (!context.Response.HasStarted)
                {
                    Begin(context.Response);
                    await context.Response.StartAsync(deadline.Token).ConfigureAwait(false);
                }
                Event(body, json, () => writer.WriteChunk(json, piece));
                measured.Update();
                pending = true;
            }
        }
        if (usage)
        {
            Event(body, json, () => writer.WriteUsage(json, result!));
        }
        body.Write("data: [DONE]\n\n"u8);
        await body.FlushAsync(deadline.Token).ConfigureAwait(false);
        return result!;
    }

    static async ValueTask<bool> TryFlushAsync(PipeWriter body, CancellationToken cancellation)
    {
        try
        {
            return !(await body.FlushAsync(cancellation).ConfigureAwait(false)).IsCompleted;
        }
        catch (Exception error) when (error is OperationCanceledException or IOException)
        {
            return false;
        }
    }

    static void Begin(HttpResponse response)
    {
        response.ContentType = "text/event-stream; charset=utf-8";
        response.Headers["X-Accel-Buffering"] = "no"; // for a proxy that would wait for more
        response.HttpContext.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
    }

    static void Event(PipeWriter body, Utf8JsonWriter json, Action write)
    {
        body.Write("data: "u8);
        json.Reset(body);
        write();
        json.Flush();
        body.Write("\n\n"u8);
    }

    /// <summary>A stream that has begun ends with an error as its last event; there is no status to say it with any more.</summary>
    public static async Task BreakOffAsync(HttpContext context, ApiException error)
    {
        using Utf8JsonWriter json = new(context.Response.BodyWriter, JsonResponse.Options);
        Event(context.Response.BodyWriter, json, () => error.WriteTo(json));
        await context.Response.BodyWriter.FlushAsync(context.RequestAborted).ConfigureAwait(false);
    }

    // The caller's own name of the request, where it can stand in a header.
    static string? RequestId(HttpRequest request) =>
        request.Headers["x-request-id"] is [{ Length: >= 1 and <= 128 } id] && id.All(c => c is > ' ' and < '\u007F') ? id : null;

    void CheckPriority(GenerateOptions generate)
    {
        if (generate.Retention.Any(range => range.Priority > options.HighestPriority))
        {
            throw ApiException.Bad($"priority must be at most {options.HighestPriority} at this server.", "priority");
        }
    }

    int MostTokens(KvEngine engine) => options.MaxPromptTokens ?? engine.MaxContext - 1;

    // No text has so few tokens per character: what is as long as this need not be counted to be refused.
    void CheckChars(int chars, KvEngine engine)
    {
        if (chars / 256 > MostTokens(engine))
        {
            throw TooLong($"of {chars} characters", engine);
        }
    }

    void CheckTokens(IReadOnlyList<int> prompt, GenerateOptions generate, KvEngine engine)
    {
        // Prompts of texts that slide may be longer than the context.
        if (prompt.Count > (options.MaxPromptTokens ?? (generate.WhenFull == ContextFull.Slide ? int.MaxValue : MostTokens(engine))))
        {
            throw TooLong($"of {prompt.Count} tokens", engine);
        }
    }

    ApiException TooLong(string what, KvEngine engine) => ApiException.Bad(
        $"The prompt {what} is too long; this server takes {MostTokens(engine)} tokens, of a context of {engine.MaxContext}.", null, "context_length_exceeded");

    // What traces tell.
    ChatOptions Described(OpenAiRequest asked, GenerateOptions generate) => new()
    {
        ModelId = model.Id, Temperature = asked.Temperature, TopP = asked.TopP, MaxOutputTokens = generate.MaxTokens, Seed = asked.Seed,
        StopSequences = [.. generate.Stop], TopK = generate.TopK == 0 ? null : generate.TopK,
    };

    [LoggerMessage(1, LogLevel.Information,
        "{Operation}: prompt {Prompt} tokens, cached {Cached}, generated {Generated}; waited {Queue:F1} ms, first token {First:F1} ms, {Rate:F1} tokens/s")]
    partial void LogAnswer(string operation, int prompt, int cached, int generated, double queue, double first, double rate);
}
