using System.Diagnostics;
using Microsoft.AspNetCore.Http;

namespace KvCuda.Server;

/// <summary>How many requests there may be at once, running and waiting together; whoever comes then is told when to come back.</summary>
/// <param name="most">running and waiting</param>
sealed class Admission(int most)
{
    readonly Lock gate = new();
    double meanSeconds; // of the latest requests, exponentially
    int inside;

    /// <summary>Requests that were let in and have not left.</summary>
    public int Inside => Volatile.Read(ref inside);

    /// <summary>Lets a request in; disposing lets it out.</summary>
    /// <exception cref="ApiException">429: there are enough.</exception>
    public Ticket Enter()
    {
        lock (gate)
        {
            if (inside >= most)
            {
                throw new ApiException(StatusCodes.Status429TooManyRequests, "rate_limit_error",
                    $"{most} requests run and wait here already, and no more may.", code: "rate_limit_exceeded",
                    retryAfterSeconds: (int)Math.Clamp(Math.Ceiling(meanSeconds), 1, 60));
            }
            inside++;
        }
        return new(this);
    }

    void Leave(TimeSpan after)
    {
        lock (gate)
        {
            inside--;
            meanSeconds += (after.TotalSeconds - meanSeconds) / 8;
        }
    }

    public sealed class Ticket(Admission admission) : IDisposable
    {
        readonly long start = Stopwatch.GetTimestamp();
        int left;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref left, 1) == 0)
            {
                admission.Leave(Stopwatch.GetElapsedTime(start));
            }
        }
    }
}
