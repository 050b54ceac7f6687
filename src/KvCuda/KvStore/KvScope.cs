namespace KvCuda.KvStore;

/// <summary>Who may reuse whose pages: two sequences share a prefix only if their scopes are equal.</summary>
/// <param name="Salt">the tenant; "" is everybody</param>
/// <param name="Bits">the bits key: everything that the stored bits depend on; opaque here</param>
/// <param name="Session">a session that shares with nobody; 0: shared</param>
internal readonly record struct KvScope(string Salt, string Bits = "", long Session = 0);

/// <summary>
/// StreamingLLM (Xiao et al. 2023, arXiv 2309.17453) for one sequence: full-attention layers keep the first tokens and a
/// window, so that memory is constant. Classes that have a shorter window anyway keep their own.
/// </summary>
/// <param name="Sinks">the first so many tokens stay</param>
/// <param name="Window">tokens seen besides, the row's own included</param>
internal readonly record struct KvStreaming(int Sinks, int Window)
{
    /// <summary>Rows below this position see everything, so that their keys and values are those of full attention.</summary>
    public int ExactTokens => (int)Math.Min(int.MaxValue, (long)Sinks + Window);
}

/// <summary>How the next rows of a sequence slide: what <see cref="Tensors.StreamRows"/> is made of. Default: they do not.</summary>
/// <param name="Sinks">the first so many tokens are seen</param>
/// <param name="Window">tokens seen besides, the row's own included; 0: the rows do not slide</param>
/// <param name="Shift">a token of the window at position t has place t - Shift in the page tables</param>
internal readonly record struct KvSlide(int Sinks, int Window, int Shift)
{
    /// <summary>Rows do not slide: they are those of any sequence.</summary>
    public bool IsNone => Window == 0;
}

/// <summary>How long cached pages are worth keeping.</summary>
/// <param name="Priority">0 to 100; lower goes first</param>
/// <param name="TimeToLive">milliseconds without use after which the page goes; 0: no limit</param>
internal readonly record struct KvRetention(int Priority, long TimeToLive = 0)
{
    public static readonly KvRetention Default = new(35);
}

/// <summary>Why a page left the cache.</summary>
internal enum KvEviction
{
    /// <summary>Room was needed.</summary>
    Capacity,

    /// <summary>Its time to live had passed.</summary>
    Expired,

    /// <summary>A caller asked for it.</summary>
    Cleared,
}

/// <summary>Cached pages that stay until <see cref="KvStore.Unpin"/>: a precomputed prompt.</summary>
internal sealed class KvPin
{
    internal KvPin(int tokens, (int Unit, int Generation)[] units) => (Tokens, Units) = (tokens, units);

    /// <summary>The first so many tokens are held: whole pages.</summary>
    public int Tokens { get; }

    internal (int Unit, int Generation)[] Units { get; set; }
}
