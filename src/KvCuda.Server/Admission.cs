// How many requests there may be at once, in all and of one caller.
using System.Diagnostics;
using Microsoft.AspNetCore.Http;

namespace KvCuda.Server;

/// <summary>
/// How many requests there may be at once, running and waiting together, in all and with one key, and how many tokens a key may have computed a minute.
/// Whoever comes beyond that is told when to come back.
/// </summary>
/// <param name="most">running and waiting</param>
/// <param name="mostOfOne">of those, with one key</param>
/// <param name="tokensPerMinute">of one key; null: as many as it likes</param>
/// <param name="time">what a minute is measured with</param>
sealed class Admission(int most, int mostOfOne, int? tokensPerMinute, TimeProvider time)
{
    sealed class Caller
    {
        public int Inside;
        public double Tokens;   // that it may still have computed; below 0 after a request that took more
        public long At;         // when that was counted
    }

    readonly Lock gate = new();
    readonly Dictionary<string, Caller> callers = new(StringComparer.Ordinal); // by salt: there are as many as keys
    TaskCompletionSource? empty;
    double meanSeconds; // of the latest requests, exponentially
    int inside;

    /// <summary>Requests that were let in and have not left.</summary>
    public int Inside => Volatile.Read(ref inside);

    /// <summary>Requests that may be inside.</summary>
    public int Most => most;

    /// <summary>Ends when nobody is inside.</summary>
    public Task WhenEmptyAsync()
    {
        lock (gate)
        {
            return inside == 0 ? Task.CompletedTask : (empty ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>Lets a request in; disposing lets it out.</summary>
    /// <param name="key">of the caller: his salt</param>
    /// <exception cref="ApiException">429: there are enough.</exception>
    public Ticket Enter(string key)
    {
        lock (gate)
        {
            if (inside >= most)
            {
                throw TooMany($"{most} requests run and wait here already, and no more may.", meanSeconds);
            }
            if (!callers.TryGetValue(key, out Caller? caller))
            {
                callers[key] = caller = new() { Tokens = tokensPerMinute ?? 0, At = time.GetTimestamp() };
            }
            if (caller.Inside >= mostOfOne)
            {
                throw TooMany($"{mostOfOne} requests with this key run and wait here already; the other places are for others.", meanSeconds);
            }
            if (tokensPerMinute is { } rate)
            {
                long now = time.GetTimestamp();
                caller.Tokens = Math.Min(rate, caller.Tokens + (time.GetElapsedTime(caller.At, now).TotalMinutes * rate));
                caller.At = now;
                if (caller.Tokens <= 0)
                {
                    throw TooMany($"This key had its {rate} tokens of this minute computed.", (1 - caller.Tokens) / rate * 60);
                }
            }
            caller.Inside++;
            inside++;
            return new(this, caller);
        }
    }

    static ApiException TooMany(string message, double seconds) => new(StatusCodes.Status429TooManyRequests, "rate_limit_error", message,
        code: "rate_limit_exceeded", retryAfterSeconds: (int)Math.Clamp(Math.Ceiling(seconds), 1, 60));

    void Leave(Caller caller, TimeSpan after)
    {
        lock (gate)
        {
            inside--;
            caller.Inside--;
            meanSeconds += (after.TotalSeconds - meanSeconds) / 8;
            if (inside == 0)
            {
                empty?.SetResult();
                empty = null;
            }
        }
    }

    /// <summary>A request's place.</summary>
    public sealed class Ticket : IDisposable
    {
        readonly Admission admission;
        readonly Caller caller;
        readonly long start = Stopwatch.GetTimestamp();
        int left;

        internal Ticket(Admission admission, object caller) => (this.admission, this.caller) = (admission, (Caller)caller);

        /// <summary>So many tokens were computed for it.</summary>
        public void Charge(int tokens)
        {
            lock (admission.gate)
            {
                caller.Tokens -= tokens;
            }
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref left, 1) == 0)
            {
                admission.Leave(caller, Stopwatch.GetElapsedTime(start));
            }
        }
    }
}
