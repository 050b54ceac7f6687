namespace KvCuda.Engine;

/// <summary>Whether there is room for a request at its longest.</summary>
public enum RequestFit
{
    /// <summary>In free pages, such as may be evicted, and those it would share.</summary>
    Now,

    /// <summary>When others are finished; until then it waits, or is preempted and computed again.</summary>
    Later,

    /// <summary>Not beside what is pinned now, or not at all: it would be refused.</summary>
    Never,
}

/// <summary>What a request would meet in the store: the answer of <see cref="KvEngine.PlanAsync(string, GenerateOptions)"/>.</summary>
public sealed record RequestPlan
{
    /// <summary>Tokens of the prompt.</summary>
    public required int PromptTokens { get; init; }

    /// <summary>Of those, tokens that are cached now.</summary>
    public required int CachedTokens { get; init; }

    /// <summary>Tokens the sequence can have in the end.</summary>
    public required int LongestTokens { get; init; }

    /// <summary>Bytes of key/value pages of so many tokens, cached and shared ones included.</summary>
    public required long NeededBytes { get; init; }

    /// <summary>Bytes the store was given.</summary>
    public required long BudgetBytes { get; init; }

    /// <summary>Whether there is room.</summary>
    public required RequestFit Fit { get; init; }
}
