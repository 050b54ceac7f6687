// Whether tokens are guessed and checked several at a time.
namespace KvCuda.Engine;

/// <summary>How a request's next tokens are guessed, so that one step can check several of them.</summary>
public enum Speculation
{
    /// <summary>They are not: every step gives one token.</summary>
    None,

    /// <summary>
    /// From the request's own text: what followed the last time its latest tokens came (prompt lookup). Pays where an answer repeats its
    /// prompt or itself: summaries, edits of code, JSON.
    /// </summary>
    NGram,
}
