// What runs in the next step.
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using KvCuda.KvStore;
using KvCuda.Model;

namespace KvCuda.Engine;

/// <summary>
/// Chooses what runs in the next step. Requests are admitted in order of arrival when the pages for their tokens are
/// there. When pages run short the youngest gives its own back and is computed again later; the oldest can therefore
/// always finish. Decodes come first in a step's rows, prompt chunks fill what is left.
/// </summary>
internal sealed class Scheduler(LoadedModel model, Admission admission)
{
    readonly Pass pass = model.Pass;
    readonly LinkedList<Request> waiting = new();
    readonly ConcurrentQueue<Request> cancelled = new(); // of those that wait, perhaps
    readonly List<Request> resting = [];                 // gave their pages back, and their readers are far behind
    readonly List<Request> running = []; // oldest first
    readonly List<Scheduled> scheduled = [];
    readonly List<int> guessed = []; // scratch: a token and the guesses after it

    /// <summary>A request in a step.</summary>
    /// <param name="Request">its tokens are run from the first that has no keys and values yet</param>
    /// <param name="Item">its number in the <see cref="Pass"/></param>
    /// <param name="Wanted">of how many of its last rows the logits are wanted: 1 if the step reaches its last token, and 1 per guess after it</param>
    internal readonly record struct Scheduled(Request Request, int Item, int Wanted);

    public int Running => running.Count;

    public int Waiting => waiting.Count + resting.Count;

    /// <summary>Requests that run, then those that wait, each oldest first.</summary>
    public IEnumerable<Request> All => running.Concat(waiting);

    /// <summary>Times that a request had to give its pages back.</summary>
    public long Preemptions { get; private set; }

    public bool HasWork => running.Count + waiting.Count + resting.Count > 0;

    /// <summary>A request arrives. If it can never fit beside what is pinned now, it is told so at once.</summary>
    public void Add(Request request)
    {
        if (request.Cancellation.IsCancellationRequested)
        {
            request.Fail(null);
        }
        else if (CannotFit(request) is { } never)
        {
            request.Fail(never);
        }
        else
        {
            request.Waiting = waiting.AddLast(request);
        }
    }

    /// <summary>The request's caller has cancelled it; it ends with the next step. For any thread.</summary>
    public void Cancel(Request request) => cancelled.Enqueue(request);

    /// <summary>
    /// Fills the pass; empty if nothing can run. Its time is linear in the running requests, and in the steady state it
    /// allocates nothing. The list is valid until the next call.
    /// </summary>
    public List<Scheduled> Next()
    {
        pass.Clear();
        scheduled.Clear();
        DropCancelled();
        WakeResting();
        ScheduleRunning();
        Admit();
        return scheduled;
    }

    /// <summary>The request is finished or failed: its pages go back.</summary>
    /// <remarks>It is listed until they have: should that fail, <see cref="FailAll"/> still tells its listener.</remarks>
    public void Remove(Request request)
    {
        Release(request);
        if (request.Scope.Session < 0)
        {
            // A scope of this request alone: nobody can ever find what it computed.
            model.Store.ClearScope(request.Scope);
        }
        if (request.Waiting is { } place)
        {
            waiting.Remove(place);
            request.Waiting = null;
        }
        else if (!running.Remove(request))
        {
            resting.Remove(request);
        }
    }

    /// <summary>Everything ends with this error.</summary>
    /// <remarks>Their pages stay where they are: nothing uses the store any more, and after an error it may not be whole.</remarks>
    public void FailAll(Exception error)
    {
        foreach (Request request in running.Concat(waiting).Concat(resting))
        {
            request.Fail(error);
        }
        running.Clear();
        waiting.Clear();
        resting.Clear();
    }

    void DropCancelled()
    {
        // Those that wait are not looked through: there may be thousands, in every step. First, because one that runs now may wait
        // before the next step.
        while (cancelled.TryDequeue(out Request? request))
        {
            if (request.Waiting is not null || resting.Contains(request))
            {
                Drop(request);
            }
        }
        for (int i = running.Count - 1; i >= 0; i--)
        {
            if (running[i].Cancellation.IsCancellationRequested)
            {
                Drop(running[i]);
            }
        }
    }

    // A reader has caught up: his request waits in front of those that never ran.
    void WakeResting()
    {
        for (int i = resting.Count - 1; i >= 0; i--)
        {
            Request request = resting[i];
            if (!request.LookAtReader())
            {
                resting.RemoveAt(i);
                request.Waiting = waiting.AddFirst(request);
            }
        }
        foreach (Request request in running)
        {
            request.LookAtReader();
        }
    }

    // A request whose reader is far behind holds no pages that another one needs.
    bool PreemptResting()
    {
        for (int i = running.Count - 1; i >= 0; i--)
        {
            if (running[i].Rests)
            {
                Request request = running[i];
                Preemptions++;
                Release(request);
                running.RemoveAt(i);
                resting.Add(request);
                return true;
            }
        }
        return false;
    }

    void Drop(Request request)
    {
        Remove(request);
        request.Fail(null);
    }

    // Pages go by age: whoever is short of them takes them from the youngest. Rows go to decodes first.
    void ScheduleRunning()
    {
        int decodes = 0;
        foreach (Request request in running)
        {
            decodes += request.Pending == 1 && !request.Rests ? 1 : 0;
        }
        for (int i = 0; i < running.Count; i++)
        {
            Request request = running[i];
            if (request.Rests)
            {
                continue;
            }
            bool decode = request.Pending == 1;
            decodes -= decode ? 1 : 0;
            int rows = decode ? Math.Min(1, pass.Room) : RowsFor(request, keep: decodes);
            if (rows <= 0)
            {
                continue;
            }
            // Guesses take what those that decode later in this step leave.
            int drafts = decode ? request.Guess(Math.Min(pass.Room - 1 - decodes, pass.WantedRoom - (pass.MaxSequences - pass.Count))) : 0;
            while (!TrySchedule(request, rows, drafts))
            {
                if (drafts > 0)
                {
                    drafts = 0; // nobody gives pages back for a guess
                    request.DropDrafts();
                    continue;
                }
                if (PreemptResting())
                {
                    i = running.IndexOf(request);
                    continue;
                }
                Request youngest = running[^1];
                decodes -= youngest != request && youngest.Pending == 1 ? 1 : 0;
                Preempt(youngest);
                if (youngest == request)
                {
                    return;
                }
            }
        }
    }

    void Admit()
    {
        while (waiting.First is { Value: Request request } && (running.Count < pass.MaxSequences || PreemptResting()))
        {
            if (running.Count == 0 && CannotFit(request) is { } never)
            {
                // Pages pinned since it was accepted: with nobody left to wait for, waiting on would be for ever.
                Remove(request);
                request.Fail(never);
                continue;
            }
            ReadOnlySpan<int> tokens = CollectionsMarshal.AsSpan(request.Tokens);
            // What can begin, but beside the pins of today not end, waits for those to go or for being alone with them.
            if (pass.Room == 0 || !model.Store.WouldFit(tokens.Length + 1, tokens, request.Scope, request.Streaming)
                || !model.Store.CanEverFit(request.LongestLength, tokens, request.Scope, request.Streaming))
            {
                if (pass.Room > 0 && PreemptResting())
                {
                    continue;
                }
                return;
            }
            request.Kv = model.Store.Open(request.LongestLength, request.Session, request.Streaming);
            int cached = model.Store.Match(request.Kv, tokens, request.Scope, again: request.WasScheduled);
            foreach (CacheRetention range in request.Retention)
            {
                model.Store.Retain(request.Kv, range.Start, range.End ?? int.MaxValue, range.ToStore());
            }
            if (!TrySchedule(request, RowsFor(request, keep: 0)))
            {
                Release(request);
                return;
            }
            waiting.RemoveFirst();
            request.Waiting = null;
            running.Add(request);
            request.MarkScheduled(cached);
        }
    }

    bool TrySchedule(Request request, int rows, int drafts = 0)
    {
        int start = request.Kv!.Length, wanted = start + rows == request.Tokens.Count ? 1 : 0;
        ReadOnlySpan<int> tokens = CollectionsMarshal.AsSpan(request.Tokens).Slice(start, rows);
        if (drafts > 0)
        {
            guessed.Clear();
            guessed.AddRange(tokens);
            guessed.AddRange(request.Drafts);
            tokens = CollectionsMarshal.AsSpan(guessed);
            wanted += drafts;
        }
        int item = pass.TryAdd(request.Kv, tokens, wanted);
        if (item >= 0)
        {
            scheduled.Add(new(request, item, wanted));
        }
        return item >= 0;
    }

    int RowsFor(Request request, int keep) =>
        Math.Min(Math.Min(request.Kv!.BeforeSliding(request.Pending), pass.ChunkTokens), pass.Room - keep);

    /// <summary>
    /// Whether what is pinned now leaves room for every request that has begun, should it begin again: it may have told its
    /// listener tokens already, and must come to its end, preempted or not.
    /// </summary>
    /// <param name="finished">of the request that ends now</param>
    public bool BegunFit(KvSequence finished)
    {
        foreach (Request request in running)
        {
            if (request.Kv != finished && CannotFit(request) is not null)
            {
                return false;
            }
        }
        foreach (Request request in waiting)
        {
            if (request.WasScheduled && CannotFit(request) is not null)
            {
                return false;
            }
        }
        return true;
    }

    KvBudgetException? CannotFit(Request request) => admission.CannotFit(
        CollectionsMarshal.AsSpan(request.Tokens), request.PromptCount, request.LongestLength, request.Scope, request.Streaming);

    void Preempt(Request youngest)
    {
        Preemptions++;
        Release(youngest);
        running.RemoveAt(running.Count - 1);
        youngest.Waiting = waiting.AddFirst(youngest);
    }

    void Release(Request request)
    {
        if (request.Kv is { } kv)
        {
            model.Store.Close(kv);
            request.Kv = null;
        }
    }
}
