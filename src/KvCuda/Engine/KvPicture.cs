// The store and what runs on it, at one moment, in enough detail to be drawn.
namespace KvCuda.Engine;

/// <summary>What a page of the arena is for.</summary>
public enum KvPageState
{
    /// <summary>It holds nothing.</summary>
    Free,

    /// <summary>A running sequence uses it.</summary>
    Active,

    /// <summary>Several running sequences use it.</summary>
    Shared,

    /// <summary>Kept for later prompts; makes room when room is needed.</summary>
    Cached,

    /// <summary>Stays until it is unpinned.</summary>
    Pinned,
}

/// <summary>A kind of page: the keys and values of the layers that keep the same tokens.</summary>
/// <param name="Window">tokens that are kept; 0: all</param>
/// <param name="PageBytes">bytes of one page</param>
/// <param name="PagesPerSlab">pages that a slab is cut in</param>
/// <param name="Layers">the layers that own them</param>
public sealed record KvPictureKind(int Window, long PageBytes, int PagesPerSlab, IReadOnlyList<int> Layers);

/// <summary>A slab.</summary>
/// <param name="Kind">its number among the kinds; -1: it is not cut</param>
/// <param name="Pages">per page a <see cref="KvPageState"/></param>
public sealed record KvPictureSlab(int Kind, IReadOnlyList<byte> Pages);

/// <summary>A branch of the prefix tree: everything cached that begins with the same page.</summary>
/// <param name="Salt">the tenant's</param>
/// <param name="FirstTokens">its first page's tokens</param>
/// <param name="TrunkTokens">tokens that everything in it begins with</param>
/// <param name="Tokens">tokens that it holds</param>
/// <param name="Branches">ends that it has</param>
/// <param name="Hits">times that a page of it was found</param>
/// <param name="Pinned">pages of it that are pinned</param>
public sealed record KvPictureBranch(string Salt, IReadOnlyList<int> FirstTokens, int TrunkTokens, long Tokens, int Branches, long Hits, int Pinned);

/// <summary>A request that runs or waits.</summary>
/// <param name="Id">a number of its own</param>
/// <param name="Salt">the tenant's</param>
/// <param name="Age">since it came</param>
/// <param name="State">waiting, prompt (its prompt is being computed) or answer</param>
/// <param name="PromptTokens">of its prompt</param>
/// <param name="CachedTokens">of those, found in the store</param>
/// <param name="ComputedTokens">tokens that have keys and values</param>
/// <param name="GeneratedTokens">of its answer so far</param>
/// <param name="Bytes">of pages that it holds</param>
public sealed record KvPictureRequest(long Id, string Salt, TimeSpan Age, string State, int PromptTokens, int CachedTokens, int ComputedTokens,
    int GeneratedTokens, long Bytes);

/// <summary>The store and what runs on it, at one moment: the answer of <see cref="KvEngine.GetPictureAsync"/>.</summary>
public sealed record KvPicture
{
    /// <summary>Bytes of a slab.</summary>
    public required long SlabBytes { get; init; }

    /// <summary>Tokens of a page.</summary>
    public required int PageTokens { get; init; }

    /// <summary>Kinds of pages.</summary>
    public required IReadOnlyList<KvPictureKind> Kinds { get; init; }

    /// <summary>Slabs in their order.</summary>
    public required IReadOnlyList<KvPictureSlab> Slabs { get; init; }

    /// <summary>The largest branches of the prefix tree, largest first.</summary>
    public required IReadOnlyList<KvPictureBranch> Branches { get; init; }

    /// <summary>Requests, the running ones first, each oldest first.</summary>
    public required IReadOnlyList<KvPictureRequest> Requests { get; init; }

    /// <summary>Per layer, the layer whose keys and values it reads.</summary>
    public required IReadOnlyList<int> Reads { get; init; }

    /// <summary>Per layer, bytes of keys and values of a token that it owns.</summary>
    public required IReadOnlyList<long> BytesPerToken { get; init; }

    /// <summary>The counters of the same moment.</summary>
    public required KvStatus Status { get; init; }
}
