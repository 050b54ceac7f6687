// The engine's thread: errands, arrivals and steps, one after another, and what happens when one of them fails.
using System.Collections.Concurrent;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.Engine;

/// <summary>
/// Runs one model's requests, step after step, on one thread. Other threads hand it requests (<see cref="Submit"/>) and questions
/// (<see cref="Ask"/>); what belongs to one request (its tokenizer, its callbacks) fails that request and nothing else.
/// </summary>
internal sealed class EngineLoop : IDisposable
{
    readonly LoadedModel model;
    readonly Sampler sampler;
    readonly TimeProvider time;
    readonly long loaded;
    readonly int maxWaiting;
    readonly Thread? thread; // null: whoever made the engine calls Turn
    readonly ConcurrentQueue<Request> arrivals = new();
    readonly ConcurrentQueue<Action> errands = new();
    readonly SemaphoreSlim wake = new(0);
    readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    int queued; // requests that have arrived and were never scheduled
    volatile bool stopping;
    volatile Exception? broken;

    /// <param name="model">runs the steps</param>
    /// <param name="scheduler">chooses what runs in them</param>
    /// <param name="options">clock, and how many requests may wait</param>
    /// <param name="ownThread">false: no thread runs it; the caller's calls of <see cref="Turn"/> do, all from one thread</param>
    public EngineLoop(LoadedModel model, Scheduler scheduler, KvEngineOptions options, bool ownThread)
    {
        (this.model, Scheduler, time, maxWaiting) = (model, scheduler, options.TimeProvider, options.MaxWaiting);
        loaded = time.GetTimestamp();
        sampler = new(model.Backend, model.Memory.Batch.MaxWanted, model.Config.Vocabulary);
        thread = ownThread ? new Thread(Run) { IsBackground = true, Name = "kvcuda-engine" } : null;
    }

    public Scheduler Scheduler { get; }

    /// <summary>The error that ended it; null while it works.</summary>
    public Exception? Failure => broken;

    /// <summary>Called in every step between the forward pass and the acceptance of its tokens; for tests.</summary>
    public Action? BeforeAccept { get; set; }

    /// <summary>Running sums, for its thread.</summary>
    public EngineMeter Meter { get; } = new();

    /// <summary>Is told of every step, on the engine's thread.</summary>
    public event EngineStepObserver? StepCompleted;

    /// <summary>Begins to run.</summary>
    public void Start() => thread?.Start();

    /// <summary>Hands a request over. It ends with the engine's error if the engine has ended.</summary>
    /// <exception cref="QueueFullException">As many requests wait as may.</exception>
    public void Submit(Request request)
    {
        if (Interlocked.Increment(ref queued) > maxWaiting)
        {
            Interlocked.Decrement(ref queued);
            throw new QueueFullException(
                $"The engine already has {maxWaiting} requests waiting, the most it takes (MaxWaiting); ask again later.", maxWaiting);
        }
        request.LeavesQueue = () => Interlocked.Decrement(ref queued);
        // A waiting request is found by its cancellation; nobody looks through those that wait.
        request.Cancellation.UnsafeRegister(static state =>
        {
            (EngineLoop loop, Request cancelled) = ((EngineLoop, Request))state!;
            loop.Scheduler.Cancel(cancelled);
            loop.Wake();
        }, (this, request));
        arrivals.Enqueue(request);
        Wake();
        if (ended.Task.IsCompleted)
        {
            FailArrivals();
        }
    }

    /// <summary>There may be something to do.</summary>
    public void Wake()
    {
        // Once is enough however many ask, and it cannot overflow while the engine is busy for long.
        if (wake.CurrentCount == 0)
        {
            wake.Release();
        }
    }

    /// <summary>Runs a question on the engine's thread, between two steps.</summary>
    public Task<T> Ask<T>(Func<T> question)
    {
        TaskCompletionSource<T> answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        errands.Enqueue(() =>
        {
            try
            {
                if (ended.Task.IsCompleted)
                {
                    throw broken ?? new ObjectDisposedException(nameof(KvEngine));
                }
                answer.SetResult(question());
            }
#pragma warning disable CA1031 // whatever it is, it belongs to the one who asked
            catch (Exception error)
#pragma warning restore CA1031
            {
                answer.SetException(error);
            }
        });
        Wake();
        if (ended.Task.IsCompleted)
        {
            TakeErrands();
        }
        return answer.Task;
    }

    /// <summary>Answers what was asked so far.</summary>
    public void TakeErrands()
    {
        while (errands.TryDequeue(out Action? errand))
        {
            errand();
        }
    }

    /// <summary>Ends after the step that is running; everything unfinished ends with <see cref="ObjectDisposedException"/>.</summary>
    public Task StopAsync()
    {
        stopping = true;
        wake.Release();
        if (thread is null)
        {
            Run();
        }
        return ended.Task;
    }

    void Run()
    {
        try
        {
            while (!stopping)
            {
                if (!Turn())
                {
                    // What expires is forgotten in time even if nobody calls.
                    wake.Wait((int)Math.Clamp(model.Store.NextExpiry - model.Store.Now, 0, int.MaxValue));
                }
            }
        }
#pragma warning disable CA1031 // the engine's thread must never take the process down: every caller is told instead
        catch (Exception error)
#pragma warning restore CA1031
        {
            broken = error is KvCudaException ? error : new DeviceException(
                $"The engine stopped after an unexpected error and takes no further requests: {error.Message}", error);
        }
        Scheduler.FailAll(broken ?? new ObjectDisposedException(nameof(KvEngine)));
        ended.SetResult();
        FailArrivals();
        TakeErrands();
    }

    /// <summary>Once around: the time, errands, arrivals, and a step if there is anything to do.</summary>
    /// <returns>whether a step was run</returns>
    public bool Turn()
    {
        ReadClock();
        TakeErrands();
        while (arrivals.TryDequeue(out Request? request))
        {
            Scheduler.Add(request);
        }
        return Step();
    }

    void ReadClock()
    {
        try
        {
            model.Store.Now = Math.Max(model.Store.Now, (long)time.GetElapsedTime(loaded).TotalMilliseconds);
        }
#pragma warning disable CA1031 // a clock of the caller's: time stands still until it works again, and requests go on
        catch (Exception)
#pragma warning restore CA1031
        {
        }
    }

    // After the thread's end, whoever comes too late is told at once.
    void FailArrivals()
    {
        while (arrivals.TryDequeue(out Request? request))
        {
            request.Fail(broken ?? new ObjectDisposedException(nameof(KvEngine)));
        }
    }

    // The life of a token: choose what runs, run it, choose the next tokens, tell their owners.
    bool Step()
    {
        List<Scheduler.Scheduled> scheduled = Scheduler.Next();
        if (scheduled.Count == 0)
        {
            return false;
        }
        Meter.Begin();
        foreach (Scheduler.Scheduled rows in scheduled)
        {
            Meter.Rows(rows.Request, model.Pass.RowsOf(rows.Item) - Math.Max(0, rows.Wanted - 1));
        }
        Tensor logits = model.Pass.Run();
        sampler.Clear();
        foreach (Scheduler.Scheduled rows in scheduled)
        {
            if (rows.Wanted > 0)
            {
                rows.Request.AddRows(sampler, rows.Wanted - 1);
            }
        }
        ReadOnlySpan<int> next = sampler.Choose(logits);
        BeforeAccept?.Invoke();
        foreach (Scheduler.Scheduled rows in scheduled)
        {
            Accept(rows, next);
        }
        TellObservers();
        return true;
    }

    void TellObservers()
    {
        try
        {
            Meter.End(StepCompleted);
        }
#pragma warning disable CA1031 // an observer of the caller's: no request is his to end
        catch (Exception)
#pragma warning restore CA1031
        {
        }
    }

    void Accept(in Scheduler.Scheduled rows, ReadOnlySpan<int> next)
    {
        Request request = rows.Request;
        if (rows.Wanted == 0)
        {
            model.Pass.Accept(rows.Item);
            return;
        }
        int row = model.Pass.RowOf(rows.Item), drafts = rows.Wanted - 1, right = 0;
        while (right < drafts && next[row + right] == request.Drafts[right])
        {
            right++;
        }
        request.LearnFromDrafts(right);
        // Every row up to the first wrong guess gives the token that a step of its own would have given. One after another, as
        // those steps would: a text may end before the last right guess.
        for (int i = 0; i <= right; i++)
        {
            int token = next[row + i];
            if (token == SampleRow.NoToken)
            {
                // Before anything of this row is kept: such keys and values must not be found by others.
                End(request, new ModelOutputException(SampleRow.NoTokenMessage));
                return;
            }
            model.Pass.Accept(rows.Item, i == 0 ? model.Pass.RowsOf(rows.Item) - drafts : 1);
            if (Tell(request, token, row + i))
            {
                return;
            }
        }
    }

    // Gives a request its next token; true if that ended it.
    bool Tell(Request request, int token, int row)
    {
        Meter.Chosen(request);
        bool finished;
        try
        {
            finished = request.Accept(token, sampler.LogprobOf(row));
        }
#pragma warning disable CA1031 // a tokenizer of the caller's may throw anything: it is the error of its request
        catch (Exception error)
#pragma warning restore CA1031
        {
            End(request, error as KvCudaException ?? new InvalidRequestException(
                $"The tokenizer failed to decode token {token} of this request's answer: {error.Message}", error));
            return true;
        }
        if (finished)
        {
            Finish(request);
        }
        return finished;
    }

    void Finish(Request request)
    {
        long held = model.Store.BytesHeld(request.Kv!);
        try
        {
            request.BeforeRelease?.Invoke(request.Kv!);
        }
#pragma warning disable CA1031 // whatever it is, it belongs to the one who asked
        catch (Exception error)
#pragma warning restore CA1031
        {
            End(request, error);
            return;
        }
        Scheduler.Remove(request);
        Meter.Finish(request.EndedWith);
        request.Complete(held, model.Layout.BytesPerToken);
    }

    void End(Request request, Exception error)
    {
        Scheduler.Remove(request);
        request.Fail(error);
    }

    /// <summary>Gives the sampler's memory back; after the end only. Late callers may still wake it.</summary>
    public void Dispose() => sampler.Dispose();
}
