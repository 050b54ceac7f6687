using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Threads that run one body together with the caller. A verb takes microseconds, so waking must too: members spin for some
/// tens of microseconds after their last work, then park. One team per thread count serves the whole process: several engines
/// take turns verb by verb instead of oversubscribing the cores.
///
/// Work is cut in more shares than members, claimed one by one: a member that the system has put aside holds up the others
/// by the one share it is at, and by nothing if it had not begun.
/// </summary>
internal sealed unsafe class ThreadTeam
{
    // Long enough to bridge the gap between two verbs of a decode step, short enough that an idle service burns nothing.
    static readonly long spinTicks = Stopwatch.Frequency * 50 / 1_000_000;

    static readonly Dictionary<int, ThreadTeam> teams = [];

    readonly Lock turn = new();
    readonly SemaphoreSlim[] parked;
    readonly int[] sleeping;
    readonly State* state;
    delegate*<void*, int, int, void> body;
    void* argument;
    int shares;
    volatile Exception? failure;

    // What members look at while they wait and claim: each number on a cache line of its own.
    [StructLayout(LayoutKind.Explicit, Size = 128)]
    struct State
    {
        /// <summary>From high to low: number of the work (48 bits), closed (1), members inside (15).</summary>
        [FieldOffset(0)]
        public long Work;

        [FieldOffset(64)]
        public int Next;
    }

    const long Closed = 1 << 15, Inside = Closed - 1;

    /// <summary>Threads that take part, the caller included.</summary>
    public int Members { get; }

    ThreadTeam(int members)
    {
        Members = members;
        parked = new SemaphoreSlim[members];
        sleeping = new int[members];
        state = (State*)NativeMemory.AlignedAlloc((nuint)sizeof(State), 64); // as long as the process
        *state = new() { Work = Closed };
        for (int member = 1; member < members; member++)
        {
            parked[member] = new SemaphoreSlim(0);
            int self = member;
            new Thread(() => Serve(self)) { IsBackground = true, Name = $"kvcuda-cpu-{self}" }.Start();
        }
    }

    /// <summary>The process's team of so many threads; 0 means one per core the process may use.</summary>
    public static ThreadTeam Of(int threads)
    {
        int members = Math.Clamp(threads <= 0 ? Environment.ProcessorCount : threads, 1, 256);
        lock (teams)
        {
            if (!teams.TryGetValue(members, out ThreadTeam? team))
            {
                teams[members] = team = new ThreadTeam(members);
            }
            return team;
        }
    }

    /// <summary>Shares for work whose parts cost alike: two for each member.</summary>
    public void Run(delegate*<void*, int, int, void> work, void* workArgument) => Run(work, workArgument, 2 * Members);

    /// <summary>
    /// Calls work(workArgument, share, count) once for every share, on whichever member is free, and returns when all have
    /// finished.
    /// </summary>
    /// <param name="work">the body</param>
    /// <param name="workArgument">its argument</param>
    /// <param name="count">shares</param>
    /// <param name="alone">the work is not worth waking anybody: the caller does it all</param>
    public void Run(delegate*<void*, int, int, void> work, void* workArgument, int count, bool alone = false)
    {
        if (alone || Members == 1 || count <= 1)
        {
            for (int share = 0; share < count; share++)
            {
                work(workArgument, share, count);
            }
            return;
        }
        lock (turn)
        {
            body = work;
            argument = workArgument;
            shares = count;
            failure = null;
            state->Next = 0;
            long open = (state->Work >> 16) + 1 << 16;
            Interlocked.Exchange(ref state->Work, open);
            for (int member = 1; member < Math.Min(Members, count); member++)
            {
                if (Volatile.Read(ref sleeping[member]) == 1 && Interlocked.Exchange(ref sleeping[member], 0) == 1)
                {
                    parked[member].Release();
                }
            }
            Claim();
            // Whoever has not begun need not begin. The others are at their last share; past a few rounds of waiting the core is
            // better lent to them.
            Interlocked.Or(ref state->Work, Closed);
            SpinWait spinner = default;
            while ((Volatile.Read(ref state->Work) & Inside) != 0)
            {
                spinner.SpinOnce(sleep1Threshold: -1);
            }
            if (failure is { } first)
            {
                throw new InvalidOperationException("A member of the CPU team failed.", first);
            }
        }
    }

    void Claim()
    {
        try
        {
            int count = shares;
            for (int share; (share = Interlocked.Increment(ref state->Next) - 1) < count;)
            {
                body(argument, share, count);
            }
        }
#pragma warning disable CA1031 // whatever it is, the caller of Run must hear of it
        catch (Exception exception)
#pragma warning restore CA1031
        {
            failure = exception;
        }
    }

    void Serve(int self)
    {
        long seen = 0;
        while (true)
        {
            seen = WaitForWork(self, seen);
            // Inside only while it is open: what the work is about is the caller's until then, and again when it is closed.
            long now = Volatile.Read(ref state->Work);
            while (now >> 16 == seen && (now & Closed) == 0)
            {
                long found = Interlocked.CompareExchange(ref state->Work, now + 1, now);
                if (found == now)
                {
                    Claim();
                    Interlocked.Decrement(ref state->Work);
                    break;
                }
                now = found;
            }
        }
    }

    long WaitForWork(int self, long seen)
    {
        long until = Stopwatch.GetTimestamp() + spinTicks;
        while (true)
        {
            long work = Volatile.Read(ref state->Work) >> 16;
            if (work != seen)
            {
                return work;
            }
            if (Stopwatch.GetTimestamp() < until)
            {
                Thread.SpinWait(8);
                continue;
            }
            Interlocked.Exchange(ref sleeping[self], 1);
            // Work that came between the last look and the flag has not seen the flag: look again before sleeping.
            if (Volatile.Read(ref state->Work) >> 16 != seen && Interlocked.Exchange(ref sleeping[self], 0) == 1)
            {
                continue;
            }
            parked[self].Wait();
        }
    }

    /// <summary>The part [Start, End) of <paramref name="count"/> units that is <paramref name="share"/>'s.</summary>
    public static (int Start, int End) Share(int count, int share, int shares) =>
        ((int)((long)count * share / shares), (int)((long)count * (share + 1) / shares));
}
