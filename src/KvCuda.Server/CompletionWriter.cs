using System.Text;
using System.Text.Json;
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Text;

namespace KvCuda.Server;

/// <summary>An answer as OpenAI's JSON: whole, or chunk by chunk.</summary>
/// <param name="chat">a chat's answer; otherwise a text's continuation</param>
/// <param name="id">of the answer</param>
/// <param name="model">what it is called</param>
/// <param name="tokenizer">spells tokens in log-probabilities</param>
/// <param name="usageInStream">chunks have a usage, the last one filled in (<c>stream_options.include_usage</c>)</param>
/// <param name="offset">characters of the prompt, where a text goes on</param>
/// <param name="parser">tells an answer's words, thoughts and calls apart; null: it is text</param>
sealed class CompletionWriter(bool chat, string id, string model, Tokenizer tokenizer, bool usageInStream, int offset, AnswerParser? parser)
{
    readonly long created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    readonly Decoder characters = Encoding.UTF8.GetDecoder();
    int textOffset = offset;
    bool begun;
    int callsTold;

    /// <summary>A chunk with a piece's text; the first of a chat names the role, the last the reason of the end.</summary>
    public void WriteChunk(Utf8JsonWriter json, GeneratedPiece piece)
    {
        Begin(json, chat ? "chat.completion.chunk" : "text_completion");
        json.WriteStartArray("choices");
        json.WriteStartObject();
        json.WriteNumber("index", 0);
        if (chat)
        {
            List<AnswerPart> parts = Parts(piece);
            string said = string.Concat(parts.Where(part => !part.IsReasoning).Select(part => part.Text));
            json.WriteStartObject("delta");
            if (!begun)
            {
                json.WriteString("role", "assistant");
            }
            if ((!begun && !parts.Any(part => part.IsReasoning || part.Call is not null)) || said.Length > 0)
            {
                json.WriteString("content", said);
            }
            WriteParts(json, parts, inStream: true);
            json.WriteEndObject();
        }
        else
        {
            json.WriteString("text", piece.Text);
        }
        begun = true;
        WriteLogprobs(json, piece.Logprob is { } logprob ? [logprob] : null);
        json.WriteString("finish_reason", piece.Result is { } result ? Reason(result, parser) : null);
        json.WriteEndObject();
        json.WriteEndArray();
        if (usageInStream)
        {
            json.WriteNull("usage");
        }
        if (piece.Result is { } end)
        {
            WriteOwn(json, end);
        }
        json.WriteEndObject();
    }

    /// <summary>The chunk after the last: the usage.</summary>
    public void WriteUsage(Utf8JsonWriter json, GenerationResult result)
    {
        Begin(json, chat ? "chat.completion.chunk" : "text_completion");
        json.WriteStartArray("choices");
        json.WriteEndArray();
        WriteUsageOf(json, result);
        json.WriteEndObject();
    }

    /// <summary>The whole answer.</summary>
    public void WriteWhole(Utf8JsonWriter json, GenerationResult result, IReadOnlyList<TokenLogprob>? logprobs)
    {
        Begin(json, chat ? "chat.completion" : "text_completion");
        json.WriteStartArray("choices");
        json.WriteStartObject();
        json.WriteNumber("index", 0);
        if (chat)
        {
            json.WriteStartObject("message");
            json.WriteString("role", "assistant");
            List<AnswerPart> parts = parser is null ? [new(result.Text)] : [.. parser.Add(result.Text), .. parser.End()];
            string said = string.Concat(parts.Where(part => !part.IsReasoning).Select(part => part.Text));
            json.WriteString("content", said.Length == 0 && parser is { Calls: > 0 } ? null : said);
            json.WriteNull("refusal");
            WriteParts(json, parts, inStream: false);
            json.WriteEndObject();
        }
        else
        {
            json.WriteString("text", result.Text);
        }
        WriteLogprobs(json, logprobs);
        json.WriteString("finish_reason", Reason(result, parser));
        json.WriteEndObject();
        json.WriteEndArray();
        WriteUsageOf(json, result);
        WriteOwn(json, result);
        json.WriteEndObject();
    }

    void Begin(Utf8JsonWriter json, string kind)
    {
        json.WriteStartObject();
        json.WriteString("id", id);
        json.WriteString("object", kind);
        json.WriteNumber("created", created);
        json.WriteString("model", model);
    }

    List<AnswerPart> Parts(GeneratedPiece piece) => parser is null ? [new(piece.Text)]
        : piece.Result is null ? parser.Add(piece.Text) : [.. parser.Add(piece.Text), .. parser.End()];

    // Thoughts and calls. In a stream a call comes when it is whole, its arguments with it.
    void WriteParts(Utf8JsonWriter json, List<AnswerPart> parts, bool inStream)
    {
        string thought = string.Concat(parts.Where(part => part.IsReasoning).Select(part => part.Text));
        if (thought.Length > 0)
        {
            json.WriteString("reasoning_content", thought); // as DeepSeek's API, vLLM and llama.cpp call it
        }
        if (!parts.Any(part => part.Call is not null))
        {
            return;
        }
        json.WriteStartArray("tool_calls");
        foreach (AnswerPart call in parts.Where(part => part.Call is not null))
        {
            json.WriteStartObject();
            if (inStream)
            {
                json.WriteNumber("index", callsTold++);
            }
            json.WriteString("id", $"call_{Guid.NewGuid():N}");
            json.WriteString("type", "function");
            json.WriteStartObject("function");
            json.WriteString("name", call.Call);
            json.WriteString("arguments", call.Arguments);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    static string Reason(GenerationResult result, AnswerParser? parser) => parser is { Calls: > 0 }
        && result.FinishReason is (FinishReason.EndOfSequence or FinishReason.StopText)
        ? "tool_calls" : result.FinishReason is FinishReason.EndOfSequence or FinishReason.StopText ? "stop" : "length";

    static void WriteUsageOf(Utf8JsonWriter json, GenerationResult result)
    {
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", result.PromptTokens);
        json.WriteNumber("completion_tokens", result.GeneratedTokens);
        json.WriteNumber("total_tokens", result.PromptTokens + result.GeneratedTokens);
        json.WriteStartObject("prompt_tokens_details");
        json.WriteNumber("cached_tokens", result.CachedTokens);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    // What the engine knows and OpenAI's API has no place for.
    static void WriteOwn(Utf8JsonWriter json, GenerationResult result)
    {
        json.WriteStartObject("kvcuda");
        json.WriteString("finish_reason", result.FinishReason switch
        {
            FinishReason.EndOfSequence => "end_of_sequence",
            FinishReason.StopText => "stop_text",
            FinishReason.MaxTokens => "max_tokens",
            _ => "context_full",
        });
        json.WriteNumber("seed", unchecked((long)result.Seed)); // as it was sent
        json.WriteNumber("prompt_tokens", result.PromptTokens);
        json.WriteNumber("cached_tokens", result.CachedTokens);
        json.WriteNumber("generated_tokens", result.GeneratedTokens);
        json.WriteNumber("queue_ms", Math.Round(result.QueueTime.TotalMilliseconds, 3));
        json.WriteNumber("ttft_ms", Math.Round(result.TimeToFirstToken.TotalMilliseconds, 3));
        json.WriteNumber("duration_ms", Math.Round(result.Duration.TotalMilliseconds, 3));
        json.WriteNumber("decode_tokens_per_s", Math.Round(result.DecodeTokensPerSecond, 3));
        json.WriteEndObject();
    }

    void WriteLogprobs(Utf8JsonWriter json, IReadOnlyList<TokenLogprob>? logprobs)
    {
        if (logprobs is null)
        {
            json.WriteNull("logprobs");
            return;
        }
        json.WriteStartObject("logprobs");
        if (chat)
        {
            json.WriteStartArray("content");
            foreach (TokenLogprob logprob in logprobs)
            {
                WriteToken(json, logprob.Token, logprob.Logprob, logprob.Top);
            }
            json.WriteEndArray();
            json.WriteNull("refusal");
        }
        else
        {
            WriteColumns(json, logprobs);
        }
        json.WriteEndObject();
    }

    void WriteToken(Utf8JsonWriter json, int token, float logprob, IReadOnlyList<(int Token, float Logprob)>? top)
    {
        byte[] bytes = tokenizer.TokenBytes(token);
        json.WriteStartObject();
        json.WriteString("token", Encoding.UTF8.GetString(bytes));
        json.WriteNumber("logprob", Finite(logprob));
        json.WriteStartArray("bytes"); // of a part of a character too, where the text cannot tell
        foreach (byte b in bytes)
        {
            json.WriteNumberValue(b);
        }
        json.WriteEndArray();
        if (top is not null)
        {
            json.WriteStartArray("top_logprobs");
            foreach ((int other, float likely) in top)
            {
                WriteToken(json, other, likely, top: null);
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    // The older form: a list per column.
    void WriteColumns(Utf8JsonWriter json, IReadOnlyList<TokenLogprob> logprobs)
    {
        json.WriteStartArray("tokens");
        foreach (TokenLogprob logprob in logprobs)
        {
            json.WriteStringValue(Spell(logprob.Token));
        }
        json.WriteEndArray();
        json.WriteStartArray("token_logprobs");
        foreach (TokenLogprob logprob in logprobs)
        {
            json.WriteNumberValue(Finite(logprob.Logprob));
        }
        json.WriteEndArray();
        json.WriteStartArray("top_logprobs");
        foreach (TokenLogprob logprob in logprobs)
        {
            WriteTop(json, logprob);
        }
        json.WriteEndArray();
        json.WriteStartArray("text_offset");
        foreach (TokenLogprob logprob in logprobs)
        {
            json.WriteNumberValue(textOffset);
            byte[] bytes = tokenizer.SpecialTokenToId(Encoding.UTF8.GetString(tokenizer.TokenBytes(logprob.Token))) == logprob.Token
                ? [] : tokenizer.TokenBytes(logprob.Token); // a special token is no part of the text
            textOffset += characters.GetChars(bytes, new char[bytes.Length + 1], flush: false);
        }
        json.WriteEndArray();
    }

    // By text: the likeliest, and the chosen one wherever it stands. Tokens of the same text are told apart by their ids.
    void WriteTop(Utf8JsonWriter json, TokenLogprob logprob)
    {
        HashSet<string> texts = new(StringComparer.Ordinal);
        json.WriteStartObject();
        foreach ((int token, float likely) in logprob.Top)
        {
            Write(token, likely);
        }
        if (!logprob.Top.Any(other => other.Token == logprob.Token))
        {
            Write(logprob.Token, logprob.Logprob);
        }
        json.WriteEndObject();

        void Write(int token, float likely)
        {
            string text = Spell(token);
            json.WriteNumber(texts.Add(text) ? text : $"token_id:{token}", Finite(likely));
        }
    }

    // A part of a character by its bytes, as OpenAI's API writes it.
    string Spell(int token)
    {
        byte[] bytes = tokenizer.TokenBytes(token);
        return System.Text.Unicode.Utf8.IsValid(bytes) ? Encoding.UTF8.GetString(bytes) : "bytes:" + string.Concat(bytes.Select(b => $"\\x{b:x2}"));
    }

    static float Finite(float logprob) => float.IsFinite(logprob) ? logprob : -9999; // as OpenAI's API says it
}
