namespace KvCuda.Engine;

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>The model produced an end-of-sequence token.</summary>
    EndOfSequence,

    /// <summary>A stop text appeared.</summary>
    StopText,

    /// <summary>As many tokens as asked for were generated.</summary>
    MaxTokens,

    /// <summary>The sequence reached the longest context.</summary>
    ContextFull,
}

/// <summary>A piece of generated text: what has become certain since the piece before.</summary>
/// <param name="Text">the text; may be empty when a token ends inside a character or a possible stop text</param>
/// <param name="Token">the token behind this piece, or null in a last piece that only flushes text</param>
/// <param name="Logprob">the token's log-probability, where asked for</param>
/// <param name="Result">in the last piece: the figures of the whole generation</param>
public sealed record GeneratedPiece(string Text, int? Token, TokenLogprob? Logprob, GenerationResult? Result);

/// <summary>Natural logarithm of a token's probability, before penalties and temperature, and those of alternatives.</summary>
/// <param name="Token">the chosen token</param>
/// <param name="Logprob">its log-probability</param>
/// <param name="Top">the likeliest tokens with their log-probabilities, likeliest first</param>
public sealed record TokenLogprob(int Token, float Logprob, IReadOnlyList<(int Token, float Logprob)> Top);

/// <summary>The figures of one generation.</summary>
public sealed record GenerationResult
{
    /// <summary>The whole text.</summary>
    public required string Text { get; init; }

    /// <summary>The generated tokens, in order.</summary>
    public required IReadOnlyList<int> Tokens { get; init; }

    /// <summary>Why it ended.</summary>
    public required FinishReason FinishReason { get; init; }

    /// <summary>The seed that repeats it.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Tokens of the prompt.</summary>
    public required int PromptTokens { get; init; }

    /// <summary>Of those, tokens whose keys and values were there already.</summary>
    public required int CachedTokens { get; init; }

    /// <summary>Generated tokens, an end-of-sequence token not counted.</summary>
    public int GeneratedTokens => Tokens.Count;

    /// <summary>Tokens that were guessed (<see cref="GenerateOptions.Speculate"/>) and checked.</summary>
    public int DraftTokens { get; init; }

    /// <summary>Of those, tokens that were right: each saved a step.</summary>
    public int AcceptedDraftTokens { get; init; }

    /// <summary>From the call to the moment the request was first scheduled.</summary>
    public required TimeSpan QueueTime { get; init; }

    /// <summary>From the call to the first token.</summary>
    public required TimeSpan TimeToFirstToken { get; init; }

    /// <summary>From the call to the end.</summary>
    public required TimeSpan Duration { get; init; }

    /// <summary>Prompt tokens computed per second, from scheduling to the first token.</summary>
    public double PrefillTokensPerSecond =>
        (PromptTokens - CachedTokens) / Math.Max((TimeToFirstToken - QueueTime).TotalSeconds, 1e-9);

    /// <summary>Tokens after the first per second.</summary>
    public double DecodeTokensPerSecond => GeneratedTokens < 2
        ? 0
        : (GeneratedTokens - 1) / Math.Max((Duration - TimeToFirstToken).TotalSeconds, 1e-9);

    /// <summary>Bytes of the pages that the sequence held at its end.</summary>
    public required long KvBytes { get; init; }

    /// <summary>Bytes that each token's keys and values take, over all owning layers.</summary>
    public required long KvBytesPerToken { get; init; }
}
