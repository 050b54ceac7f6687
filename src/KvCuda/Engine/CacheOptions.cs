namespace KvCuda.Engine;

/// <summary>Who may reuse the keys and values that a request computes, and whose it may reuse.</summary>
public enum CacheScope
{
    /// <summary>Everybody with the same salt.</summary>
    Shared,

    /// <summary>Only the session it belongs to; without a session, nobody.</summary>
    Session,
}

/// <summary>How long the keys and values of some tokens are worth keeping once nobody uses them.</summary>
/// <param name="Start">first token of the range, counted from the prompt's start</param>
/// <param name="End">the token after its last one; null: to the end, generated tokens included</param>
/// <param name="Priority">0 to 100; lower goes first when room is needed. Tokens without a range have 35</param>
/// <param name="TimeToLive">how long without use they stay; null: as long as there is room</param>
public sealed record CacheRetention(int Start, int? End, int Priority, TimeSpan? TimeToLive = null)
{
    internal KvStore.KvRetention ToStore() => new(Priority, TimeToLive is { } time ? Math.Max(1, (long)time.TotalMilliseconds) : 0);

    internal void Validate()
    {
        if (Start < 0 || End < Start || Priority is < 0 or > 100 || TimeToLive <= TimeSpan.Zero)
        {
            throw new InvalidRequestException($"A retention of priority {Priority} for tokens {Start} to {End} and {TimeToLive} was asked for; "
                + "priorities are from 0 to 100, ranges not negative, times positive.");
        }
    }
}
