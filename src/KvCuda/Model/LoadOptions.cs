using KvCuda.Backends;

namespace KvCuda.Model;

/// <summary>What a model is loaded for.</summary>
internal sealed record LoadOptions
{
    public string Device { get; init; } = "auto";

    public int Threads { get; init; }

    public Numerics Numerics { get; init; } = Numerics.Fast;

    public string? Sharing { get; init; }

    public long? KvBudgetBytes { get; init; }

    /// <summary>Bytes of pinned host memory for cold pages; 0: none.</summary>
    public long HostKvBudgetBytes { get; init; }

    public int PageTokens { get; init; } = 64;

    public string KvType { get; init; } = "auto";

    public int? MaxContext { get; init; }

    public int MaxSequences { get; init; } = 64;

    public int MaxRows { get; init; } = 256;

    /// <summary>Most rows of a pass whose logits are wanted; null is one per sequence.</summary>
    public int? MaxWanted { get; init; }

    /// <summary>Compile every kernel that may be needed at once, also under the host runner.</summary>
    public bool PreparesAlways { get; init; }

    /// <summary>The matrices are quantised at load (<see cref="Weights.Quantiser"/>); else they are as stored.</summary>
    public bool Int8Weights { get; init; }

    public PrefillMode Prefill { get; init; } = PrefillMode.Converged;
}
