using System.Diagnostics;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// Threads that run one body at a time, together with the caller. A verb takes microseconds, so waking must too: members
/// spin for some tens of microseconds after their last work, then park. One team per thread count serves the whole process:
/// several engines take turns verb by verb instead of oversubscribing the cores.
/// </summary>
internal sealed unsafe class ThreadTeam
{
    // Long enough to bridge the gap between two verbs of a decode step, short enough that an idle service burns nothing.
    static readonly long spinTicks = Stopwatch.Frequency * 50 / 1_000_000;

    static readonly Dictionary<int, ThreadTeam> teams = [];

    readonly Lock turn = new();
    readonly SemaphoreSlim[] parked;
    readonly int[] sleeping;
    delegate*<void*, int, int, void> body;
    void* argument;
    volatile int generation;
    int running;
    volatile Exception? failure;

    /// <summary>Threads that take part, the caller included.</summary>
    public int Members { get; }

    ThreadTeam(int members)
    {
        Members = members;
        parked = new SemaphoreSlim[members];
        sleeping = new int[members];
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

    /// <summary>Calls work(workArgument, member, members) on every member and returns when all have finished.</summary>
    public void Run(delegate*<void*, int, int, void> work, void* workArgument)
    {
        if (Members == 1)
        {
            work(workArgument, 0, 1);
            return;
        }
        lock (turn)
        {
            body = work;
            argument = workArgument;
            failure = null;
            Volatile.Write(ref running, Members - 1);
            Interlocked.Increment(ref generation);
            for (int member = 1; member < Members; member++)
            {
                if (Interlocked.Exchange(ref sleeping[member], 0) == 1)
                {
                    parked[member].Release();
                }
            }
            Call(0);
            // The others have shares of the same size; past a few rounds the core is better lent to them.
            SpinWait spinner = default;
            while (Volatile.Read(ref running) != 0)
            {
                spinner.SpinOnce(sleep1Threshold: -1);
            }
            if (failure is { } first)
            {
                throw new InvalidOperationException("A member of the CPU team failed.", first);
            }
        }
    }

    void Call(int member)
    {
        try
        {
            body(argument, member, Members);
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
        int seen = 0;
        while (true)
        {
            WaitForWork(self, seen);
            seen = generation;
            Call(self);
            Interlocked.Decrement(ref running);
        }
    }

    void WaitForWork(int self, int seen)
    {
        long until = Stopwatch.GetTimestamp() + spinTicks;
        while (generation == seen)
        {
            if (Stopwatch.GetTimestamp() < until)
            {
                Thread.SpinWait(16);
                continue;
            }
            Interlocked.Exchange(ref sleeping[self], 1);
            // Work that came between the last look and the flag has not seen the flag: look again before sleeping.
            if (generation != seen && Interlocked.Exchange(ref sleeping[self], 0) == 1)
            {
                return;
            }
            parked[self].Wait();
        }
    }

    /// <summary>The part [Start, End) of <paramref name="count"/> units that is <paramref name="member"/>'s.</summary>
    public static (int Start, int End) Share(int count, int member, int members) =>
        ((int)((long)count * member / members), (int)((long)count * (member + 1) / members));
}
