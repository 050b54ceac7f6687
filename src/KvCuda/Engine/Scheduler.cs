using System.Runtime.InteropServices;
using KvCuda.Model;

namespace KvCuda.Engine;

/// <summary>
/// Chooses what runs in the next step. Requests are admitted in order of arrival when the pages for their tokens are
/// there. When pages run short the youngest gives its own back and is computed again later; the oldest can therefore
/// always finish. Decodes come first in a step, prompt chunks fill what is left.
/// </summary>
internal sealed class Scheduler(LoadedModel model)
{
    readonly LinkedList<Request> waiting = new();
    readonly List<Request> running = []; // oldest first
    readonly List<Scheduled> scheduled = [];

    /// <summary>Rows of one request in a step: its tokens [Start, Start + Count).</summary>
    internal readonly record struct Scheduled(Request Request, int Start, int Count)
    {
        /// <summary>The step reaches the request's last token, so that its next one is chosen.</summary>
        public bool Wanted => Start + Count == Request.Tokens.Count;
    }

    public int Running => running.Count;

    public int Waiting => waiting.Count;

    /// <summary>Times that a request had to give its pages back.</summary>
    public long Preemptions { get; private set; }

    public bool HasWork => running.Count + waiting.Count > 0;

    public void Add(Request request) => waiting.AddLast(request);

    /// <summary>Fills the batch; empty if nothing can run.</summary>
    public IReadOnlyList<Scheduled> Next(Batch batch)
    {
        batch.Clear();
        scheduled.Clear();
        DropCancelled();
        ScheduleRunning(batch, request => request.Pending == 1);
        ScheduleRunning(batch, request => request.Pending > 1);
        Admit(batch);
        foreach (Scheduled rows in scheduled)
        {
            ReadOnlySpan<int> tokens =
                CollectionsMarshal.AsSpan(rows.Request.Tokens).Slice(rows.Start, rows.Count);
            int sequence = batch.Add(tokens, rows.Start, rows.Wanted ? 1 : 0);
            model.WriteTables(sequence, rows.Request.Kv!);
        }
        return scheduled;
    }

    /// <summary>The request is finished or failed: its pages go back.</summary>
    public void Remove(Request request)
    {
        running.Remove(request);
        waiting.Remove(request);
        Release(request);
    }

    /// <summary>Everything ends with this error.</summary>
    /// <remarks>Their pages stay where they are: nothing uses the store any more, and after an error it may not be whole.</remarks>
    public void FailAll(Exception error)
    {
        foreach (Request request in running.Concat(waiting))
        {
            request.Fail(error);
        }
        running.Clear();
        waiting.Clear();
    }

    void DropCancelled()
    {
        for (int i = running.Count - 1; i >= 0; i--)
        {
            if (running[i].Cancellation.IsCancellationRequested)
            {
                Drop(running[i]);
            }
        }
        for (LinkedListNode<Request>? node = waiting.First; node is not null;)
        {
            LinkedListNode<Request>? next = node.Next;
            if (node.Value.Cancellation.IsCancellationRequested)
            {
                Drop(node.Value);
            }
            node = next;
        }
    }

    void Drop(Request request)
    {
        Remove(request);
        request.Fail(null);
    }

    void ScheduleRunning(Batch batch, Predicate<Request> which)
    {
        for (int i = 0; i < running.Count; i++)
        {
            Request request = running[i];
            int rows = RowsFor(request, batch);
            if (!which(request) || rows == 0 || IsScheduled(request))
            {
                continue;
            }
            while (!model.Store.TryReserve(request.Kv!, rows))
            {
                Request? victim = YoungestIdleAfter(i);
                Preempt(victim ?? request);
                if (victim is null)
                {
                    break;
                }
            }
            if (request.Kv is null)
            {
                i--; // it left the list
                continue;
            }
            Schedule(request, rows);
        }
    }

    void Admit(Batch batch)
    {
        while (waiting.First is { Value: Request request } && running.Count < batch.MaxSequences)
        {
            if (running.Count == 0 && model.CannotFit(request.PromptCount, request.LongestLength) is { } never)
            {
                // Pages pinned since it was accepted: with nobody left to wait for, waiting on would be for ever.
                Remove(request);
                request.Fail(never);
                continue;
            }
            if (RowsLeft(batch) == 0 || !model.Store.WouldFit(request.Tokens.Count + 1))
            {
                return;
            }
            request.Kv = model.Store.Open(request.LongestLength, request.Session);
            int cached = model.Store.Match(request.Kv, CollectionsMarshal.AsSpan(request.Tokens), request.Scope);
            foreach (CacheRetention range in request.Retention)
            {
                model.Store.Retain(request.Kv, range.Start, range.End ?? int.MaxValue, range.ToStore());
            }
            int rows = RowsFor(request, batch);
            if (!model.Store.TryReserve(request.Kv, rows))
            {
                Release(request);
                return;
            }
            waiting.RemoveFirst();
            running.Add(request);
            request.MarkScheduled(cached);
            Schedule(request, rows);
        }
    }

    void Schedule(Request request, int rows) => scheduled.Add(new(request, request.Kv!.Length, rows));

    int RowsFor(Request request, Batch batch) =>
        Math.Min(Math.Min(request.Pending, model.ChunkTokens), RowsLeft(batch));

    int RowsLeft(Batch batch)
    {
        int used = 0;
        foreach (Scheduled rows in scheduled)
        {
            used += rows.Count;
        }
        return scheduled.Count < batch.MaxSequences ? batch.MaxRows - used : 0;
    }

    bool IsScheduled(Request request)
    {
        foreach (Scheduled rows in scheduled)
        {
            if (rows.Request == request)
            {
                return true;
            }
        }
        return false;
    }

    Request? YoungestIdleAfter(int index)
    {
        for (int i = running.Count - 1; i > index; i--)
        {
            if (!IsScheduled(running[i]))
            {
                return running[i];
            }
        }
        return null;
    }

    void Preempt(Request victim)
    {
        Preemptions++;
        running.Remove(victim);
        Release(victim);
        waiting.AddFirst(victim);
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
