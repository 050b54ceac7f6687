namespace KvCuda.Engine;

/// <summary>How one text is generated. The default is greedy.</summary>
public sealed record GenerateOptions
{
    /// <summary>Most tokens to generate.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>0 takes the likeliest token; above 0 the logits are divided by it and a token is drawn.</summary>
    public float Temperature { get; init; }

    /// <summary>Draw from so many likeliest tokens only; 0 means all.</summary>
    public int TopK { get; init; }

    /// <summary>Draw from the smallest set of likeliest tokens that has this probability; 1 means all.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>Draw only tokens of at least this share of the likeliest one's probability; 0 means all.</summary>
    public float MinP { get; init; }

    /// <summary>Divides positive (multiplies negative) logits of tokens already in the text; 1 changes nothing.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Same seed, same text; on the CPU, and on a GPU in class consistent, whatever else runs. Null draws a seed; the result tells which.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Texts that end the generation; they are not part of it and may begin and end inside tokens.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>
    /// Token ids that end the generation, also with <see cref="IgnoreEos"/>. A text in <see cref="Stop"/> that is the name of a special token is one of
    /// them.
    /// </summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>Go on after the model says it is done.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>Report each token's log-probability and those of so many likeliest alternatives; null reports none.</summary>
    public int? Logprobs { get; init; }

    /// <summary>
    /// Guess the next tokens and check several in one step. The text is the same as without, token for token and bit for bit in class
    /// consistent, whatever the temperature: a guess is kept only if it is the token that would have been chosen. A text that slides
    /// is not guessed. Models whose layers look upward refuse it.
    /// </summary>
    public Speculation Speculate { get; init; } = Speculation.None;

    /// <summary>With <see cref="Speculate"/>: most tokens guessed per step; fewer where they are often wrong. 1 to 64.</summary>
    public int DraftTokens { get; init; } = 8;

    /// <summary>Who may reuse what this request computes, and whose keys and values it may reuse.</summary>
    public CacheScope Cache { get; init; } = CacheScope.Shared;

    /// <summary>Separates tenants: requests reuse only what was computed under the same salt. Empty is a salt like others.</summary>
    public string Salt { get; init; } = "";

    /// <summary>How long ranges of tokens are worth keeping; where ranges overlap, the last one counts.</summary>
    public IReadOnlyList<CacheRetention> Retention { get; init; } = [];

    /// <summary>What happens when the text reaches the end of the context.</summary>
    public ContextFull WhenFull { get; init; } = ContextFull.Stop;

    /// <summary>With <see cref="ContextFull.Slide"/>: this many first tokens stay visible for ever (StreamingLLM's attention sinks).</summary>
    public int Sinks { get; init; } = 4;

    /// <summary>With <see cref="ContextFull.Slide"/>: this many of the latest tokens stay visible; null: what sinks leave of the context.</summary>
    public int? Window { get; init; }

    /// <summary>Finds what is out of range whatever the model; every request begins with this.</summary>
    /// <exception cref="InvalidRequestException">An option is out of range; the message names it.</exception>
    public void Validate()
    {
        Require(Stop is not null && StopTokens is not null && Retention is not null && Salt is not null,
            "Stop, StopTokens, Retention or Salt is null; leave them out, or give an empty list or text.");
        Require(Retention!.Count <= MostRetentions, $"Retention has {Retention.Count} ranges; it takes at most {MostRetentions}.");
        foreach (CacheRetention? retention in Retention)
        {
            Require(retention is not null, "Retention holds a null; give ranges only.");
            retention!.Validate();
        }
        Require(MaxTokens >= 1, $"MaxTokens is {MaxTokens}; it must be at least 1.");
        Require(float.IsFinite(Temperature) && Temperature >= 0, $"Temperature is {Temperature}; it must be 0 or more.");
        Require(TopK >= 0, $"TopK is {TopK}; it must be 0 (all) or more.");
        Require(TopP is > 0 and <= 1, $"TopP is {TopP}; it must be above 0 and at most 1.");
        Require(MinP is >= 0 and <= 1, $"MinP is {MinP}; it must be from 0 to 1.");
        Require(float.IsFinite(RepetitionPenalty) && RepetitionPenalty > 0,
            $"RepetitionPenalty is {RepetitionPenalty}; it must be above 0.");
        Require(Logprobs is null or (>= 0 and <= 100), $"Logprobs is {Logprobs}; it must be from 0 to 100.");
        Require(Stop!.Count <= 64 && Stop.All(stop => stop is not null && stop.Length is > 0 and <= 4096),
            "Stop takes at most 64 texts of 1 to 4096 characters.");
        Require(StopTokens!.Count <= 64 && StopTokens.All(token => token >= 0), "StopTokens takes at most 64 token ids.");
        Require(Enum.IsDefined(Speculate), $"Speculate is {Speculate}; it must be None or NGram.");
        Require(DraftTokens is >= 1 and <= 64, $"DraftTokens is {DraftTokens}; it must be from 1 to 64.");
        Require(Window is null || WhenFull == ContextFull.Slide,
            $"A window of {Window} tokens was given, but only a text that slides has one; say WhenFull = Slide (--when-full slide) too.");
    }

    /// <summary>A copy whose lists nobody else has, checked.</summary>
    internal GenerateOptions Checked()
    {
        GenerateOptions copy = this with
        {
            Stop = Stop is null ? null! : [.. Stop], StopTokens = StopTokens is null ? null! : [.. StopTokens],
            Retention = Retention is null ? null! : [.. Retention],
        };
        copy.Validate();
        return copy;
    }

    const int MostRetentions = 1024;

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidRequestException(message);
        }
    }
}
