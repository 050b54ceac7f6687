using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using KvCuda.Engine;

namespace KvCuda.Cli;

/// <summary><c>kvcuda run</c>: text, streamed, with a closing line of figures.</summary>
internal static class RunCommand
{
    const string DefaultPrompt = "Call me";

    public static Command Create()
    {
        ModelOptions model = new();
        Argument<string?> prompt = new("PROMPT")
        {
            Description = $"The text to continue. Default: \"{DefaultPrompt}\".", Arity = ArgumentArity.ZeroOrOne,
        };
        Option<string?> tokens = new("--tokens") { Description = "Token ids instead of a text prompt: \"5 17 9\"." };
        SamplingOptions sampling = new(maxTokens: 128);
        Option<int?> logprobs = new("--logprobs") { Description = "With --json: log-probabilities of each token and of the N most likely alternatives." };
        Option<bool> json = new("--json") { Description = "Print one JSON object instead of streaming text." };

        Command command = new("run", "Generate text with a model, streamed.");
        model.AddTo(command);
        sampling.AddTo(command);
        command.Add(prompt);
        foreach (Option option in new Option[] { model.KvReport, tokens, logprobs, json })
        {
            command.Add(option);
        }
        command.SetAction(async (parsed, cancellation) =>
        {
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            KvEngine engine = await KvEngine.LoadAsync(parsed.GetValue(model.Model)!, model.Engine(parsed) with { MaxSequences = 1 },
                cancellation: cancellation).ConfigureAwait(false);
            await using (engine.ConfigureAwait(false))
            {
                double loadMs = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds;
                GenerateOptions options = sampling.Generate(parsed) with { Logprobs = parsed.GetValue(logprobs) };
                await Generate(engine, parsed.GetValue(prompt) ?? DefaultPrompt, parsed.GetValue(tokens), options,
                    parsed.GetValue(json), loadMs, cancellation).ConfigureAwait(false);
                if (parsed.GetValue(model.KvReport))
                {
                    KvStatus status = await engine.GetKvStatusAsync().ConfigureAwait(false);
                    await Console.Error.WriteLineAsync(parsed.GetValue(json) ? status.ToJson() : status.ToString()).ConfigureAwait(false);
                }
                if (parsed.GetValue(model.Stats))
                {
                    StatsPrinter.Print(engine.Model.Backend.Counters);
                }
            }
            return 0;
        });
        return command;
    }

    static async Task Generate(KvEngine engine, string prompt, string? tokens, GenerateOptions options, bool json, double loadMs,
        CancellationToken cancellation)
    {
        IAsyncEnumerable<GeneratedPiece> pieces = tokens is null
            ? engine.GenerateAsync(prompt, options, cancellation)
            : engine.GenerateAsync(ModelOptions.Tokens(tokens), options, cancellation);
        List<TokenLogprob> probabilities = [];
        GenerationResult? result = null;
        using Stream output = Console.OpenStandardOutput();
        if (!json && tokens is null)
        {
            Write(output, prompt);
        }
        await foreach (GeneratedPiece piece in pieces.ConfigureAwait(false))
        {
            if (!json)
            {
                Write(output, engine.Tokenizer is null && piece.Token is { } id ? $"{id} " : piece.Text);
            }
            if (piece.Logprob is { } logprob)
            {
                probabilities.Add(logprob);
            }
            result = piece.Result ?? result;
        }
        if (json)
        {
            WriteJson(output, result!, options.Logprobs is null ? null : probabilities, loadMs);
            Write(output, "\n");
        }
        else
        {
            Write(output, "\n");
            await Console.Error.WriteLineAsync("\n" + Figures(engine, result!)).ConfigureAwait(false);
        }
    }

    static void Write(Stream output, string text)
    {
        output.Write(Encoding.UTF8.GetBytes(text));
        output.Flush();
    }

    /// <summary>A generation in one line.</summary>
    public static string Figures(KvEngine engine, GenerationResult result) => string.Create(CultureInfo.InvariantCulture,
        $"prompt {result.PromptTokens} tokens, cached {result.CachedTokens}, generated {result.GeneratedTokens} | "
        + $"first token {result.TimeToFirstToken.TotalMilliseconds:F1} ms | {result.DecodeTokensPerSecond:F1} tokens/s | "
        + $"KV {result.KvBytes:N0} bytes, {result.KvBytesPerToken:N0} per token | {engine.Device}");

    static void WriteJson(Stream output, GenerationResult result, List<TokenLogprob>? probabilities, double loadMs)
    {
        using Utf8JsonWriter writer = new(output, new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        writer.WriteStartObject();
        writer.WriteString("text", result.Text);
        writer.WriteStartArray("tokens");
        foreach (int token in result.Tokens)
        {
            writer.WriteNumberValue(token);
        }
        writer.WriteEndArray();
        writer.WriteNumber("prompt_tokens", result.PromptTokens);
        writer.WriteNumber("cached_tokens", result.CachedTokens);
        writer.WriteNumber("generated_tokens", result.GeneratedTokens);
        if (result.DraftTokens > 0)
        {
            writer.WriteNumber("draft_tokens", result.DraftTokens);
            writer.WriteNumber("accepted_draft_tokens", result.AcceptedDraftTokens);
        }
        writer.WriteString("finish_reason", result.FinishReason switch
        {
            FinishReason.EndOfSequence or FinishReason.StopText => "stop",
            FinishReason.MaxTokens => "length",
            _ => "context",
        });
        writer.WriteNumber("seed", result.Seed);
        writer.WriteNumber("load_ms", Math.Round(loadMs, 3));
        writer.WriteNumber("ttft_ms", Math.Round(result.TimeToFirstToken.TotalMilliseconds, 3));
        writer.WriteNumber("prefill_tokens_per_s", Math.Round(result.PrefillTokensPerSecond, 3));
        writer.WriteNumber("decode_tokens_per_s", Math.Round(result.DecodeTokensPerSecond, 3));
        writer.WriteNumber("kv_bytes", result.KvBytes);
        writer.WriteNumber("kv_bytes_per_token", result.KvBytesPerToken);
        if (probabilities is not null)
        {
            writer.WriteStartArray("logprobs");
            foreach (TokenLogprob probability in probabilities)
            {
                WriteLogprob(writer, probability);
            }
            writer.WriteEndArray();
        }
        writer.WriteEndObject();
    }

    static void WriteLogprob(Utf8JsonWriter writer, TokenLogprob probability)
    {
        writer.WriteStartObject();
        writer.WriteNumber("token", probability.Token);
        WriteNumber(writer, probability.Logprob);
        writer.WriteStartArray("top");
        foreach ((int token, float logprob) in probability.Top)
        {
            writer.WriteStartObject();
            writer.WriteNumber("token", token);
            WriteNumber(writer, logprob);
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    // JSON has no number for what is none.
    static void WriteNumber(Utf8JsonWriter writer, float logprob)
    {
        if (float.IsFinite(logprob))
        {
            writer.WriteNumber("logprob", logprob);
        }
        else
        {
            writer.WriteNull("logprob");
        }
    }
}
