using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Tests.KvStore;

namespace KvCuda.Tests.Engine;

/// <summary>The shape of the engine that a mix runs on.</summary>
sealed record MixShape(string Map, string KvType, int PageTokens, int Pages, int MaxSequences, int MaxStepTokens, double PinnedShare);

/// <summary>
/// A random program of callers against one engine whose steps the program itself takes: prompts that begin alike, salts, scopes,
/// sessions with their forks and rewinds, pins, times to live, snapshots, cancellations before, within and after a step, and
/// listeners that read at once or at the very end. Whatever is heard, bit for bit, is what a cold run alone says.
/// </summary>
sealed class Mix : IDisposable
{
    public const int Codes = 30;

    readonly MixRig rig;
    readonly MixShape shape;
    readonly HandClock clock = new();
    readonly KvEngine engine;
    readonly List<Call> calls = [];
    readonly List<Talk> talks = [];
    readonly List<PrecomputedPrompt> pins = [];
    readonly List<(string Path, int[] Tokens)> saved = [];
    readonly List<Request> requests = [];
    Request? arrived;

    // One caller's request.
    sealed class Call
    {
        public required Request Request;
        public required IAsyncEnumerator<GeneratedPiece> Pieces;
        public required int[] Prompt;
        public required GenerateOptions Options;
        public required CancellationTokenSource Source;
        public Task<bool>? Pending;
        public List<Heard> Heard = [];
        public Talk? Talk;
        public int Said;             // tokens of the session before this turn
        public bool BrokenOff;       // nobody listens any more
        public bool MetPins;         // something was pinned while it waited
    }

    // A session, and the turn that may be running.
    sealed class Talk(KvSession session)
    {
        public readonly KvSession Session = session;
        public Call? Turn;
    }

    public Mix(MixRig rig, MixShape shape)
    {
        (this.rig, this.shape) = (rig, shape);
        engine = rig.Engine(Options(long.MaxValue), shape.PageTokens);
        long pages = engine.Model.Layout.Classes.Sum(c => c.PageBytes);
        engine.Dispose();
        engine = rig.Engine(Options(pages * shape.Pages), shape.PageTokens);
        engine.Arriving = request =>
        {
            arrived = request;
            requests.Add(request);
        };

        KvEngineOptions Options(long budget) => new()
        {
            Device = "cpu", Threads = 1, Sharing = shape.Map, KvType = shape.KvType, Numerics = "consistent", TimeProvider = clock,
            KvBudgetBytes = Math.Min(budget, 1 << 22), PinnedShare = shape.PinnedShare, MaxSequences = shape.MaxSequences, MaxStepTokens = shape.MaxStepTokens,
        };
    }

    KvCuda.KvStore.KvStore Store => engine.Model.Store;

    public long Preemptions => engine.Scheduler.Preemptions;
    public KvCounters Counters => Store.Counters;
    public long Completed { get; private set; }
    public long Cancelled { get; private set; }

    public string? Play(IReadOnlyList<Operation> program)
    {
        for (int i = 0; i <= program.Count; i++)
        {
            try
            {
                if (i < program.Count)
                {
                    Do(program[i]);
                }
                else
                {
                    End();
                }
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                string at = i < program.Count ? $"operation {i} {program[i]}" : "the end";
                return $"{at}: {e.GetType().Name}: {e.Message}";
            }
        }
        return null;
    }

    void Do(Operation o)
    {
        switch (o.Code)
        {
            case <= 4:
                if (calls.Count < 10)
                {
                    Ask(Prompt(o), Asked(o), null);
                }
                break;
            case 5 or 6 or 7:
                Turn(o);
                break;
            case 8:
                if (talks.Count is > 0 and < 6)
                {
                    talks.Add(new(talks[o.A % talks.Count].Session.Fork()));
                }
                break;
            case 9:
                if (talks.Count > 0)
                {
                    Rewind(talks[o.A % talks.Count], o);
                }
                break;
            case 10:
                if (talks.Count > 0)
                {
                    EndTalk(talks[o.A % talks.Count], o);
                }
                break;
            case 11:
                if (calls.Count > 0)
                {
                    calls[o.A % calls.Count].Source.Cancel();
                    Settle();
                }
                break;
            case 12:
                // Within the step: its rows are computed, its token is chosen but not yet accepted.
                engine.BeforeAccept = () => calls.ElementAtOrDefault(o.A % Math.Max(1, calls.Count))?.Source.Cancel();
                Step();
                engine.BeforeAccept = null;
                break;
            case 13:
                Pin(o);
                break;
            case 14:
                if (pins.Count > 0)
                {
                    Pump(pins[o.A % pins.Count].DisposeAsync().AsTask());
                    pins.RemoveAt(o.A % pins.Count);
                }
                break;
            case 15:
                clock.Milliseconds += o.B % 8;
                break;
            case 16:
                Clear(o);
                break;
            case 17:
                Save(o);
                break;
            case 18:
                Restore(o);
                break;
            case 19:
                if (calls.Count > 0)
                {
                    Hear(calls[o.A % calls.Count], breakOff: o.B % 2 == 0);
                }
                break;
            default:
                for (int i = 0; i < 1 + o.B % 4; i++)
                {
                    Step();
                }
                break;
        }
    }

    static int[] Prompt(Operation o)
    {
        int[] family = [.. Enumerable.Range(0, 26).Select(i => (i * 7 + o.A % 3 * 5 + i / 5 * (1 + o.A % 3)) % 36 + 3)];
        return [.. family.Take(o.A / 3 % 9 * 3), .. Enumerable.Range(0, 1 + o.B % 6).Select(i => (o.B / 6 + i * 11) % 36 + 3)];
    }

    static GenerateOptions Asked(Operation o) => new()
    {
        MaxTokens = 1 + (o.A + o.B) % 14,
        Temperature = o.B % 4 == 0 ? 1.2f : 0,
        RepetitionPenalty = o.B % 7 == 0 ? 1.4f : 1,
        Seed = (ulong)o.B % 5,
        IgnoreEos = o.B % 3 != 0,
        Logprobs = 0,
        Salt = o.A % 5 == 4 ? "tenant" : "",
        Cache = o.A % 11 == 10 ? CacheScope.Session : CacheScope.Shared,
        Retention = o.B % 5 == 0 ? [new(o.A % 8, o.A % 3 == 0 ? null : 16, o.B % 101, o.A % 4 == 0 ? TimeSpan.FromMilliseconds(3) : null)] : [],
    };

    static SessionOptions Kept(Operation o) => new()
    {
        Salt = o.A % 3 == 2 ? "tenant" : "",
        Cache = o.B % 3 == 2 ? CacheScope.Session : CacheScope.Shared,
        Priority = o.B % 101,
        IdleTimeToLive = o.A % 4 == 3 ? TimeSpan.FromMilliseconds(2) : null,
    };

    void Ask(int[] prompt, GenerateOptions asked, Talk? talk)
    {
        int[] whole = talk is null ? prompt : [.. talk.Session.Tokens, .. prompt];
        var source = new CancellationTokenSource();
        arrived = null;
        bool fits = whole.Length < MixRig.Context && Store.FitsEmpty(Math.Min(MixRig.Context, whole.Length + asked.MaxTokens));
        IAsyncEnumerator<GeneratedPiece>? pieces = null;
        Task<bool>? first = null;
        try
        {
            pieces = (talk is null ? engine.GenerateAsync(prompt, asked, source.Token) : talk.Session.GenerateAsync(prompt, asked, source.Token)).GetAsyncEnumerator();
            first = pieces.MoveNextAsync().AsTask();
            if (arrived is null)
            {
                first.GetAwaiter().GetResult();
            }
        }
        catch (Exception refusal) when (refusal is KvBudgetException or InvalidRequestException)
        {
            Require(!fits && arrived is null, $"a prompt of {whole.Length} for {asked.MaxTokens} was refused: {refusal.Message}");
            return;
        }
        Require(fits && arrived is not null, "what can never fit was not refused");
        var call = new Call { Request = arrived!, Pieces = pieces, Prompt = whole, Options = asked, Source = source, Pending = first, Talk = talk, MetPins = pins.Count > 0, Said = whole.Length - prompt.Length };
        calls.Add(call);
        if (talk is not null)
        {
            talk.Turn = call;
        }
    }

    void Turn(Operation o)
    {
        if (talks.Count == 0 || (talks.Count < 4 && o.A % 4 == 0))
        {
            talks.Add(new(engine.OpenSession(Kept(o))));
        }
        Talk talk = talks[o.A % talks.Count];
        if (calls.Count < 10)
        {
            if (talk.Turn is { } turn)
            {
                if (IsRunning(turn))
                {
                    Refused<InvalidRequestException>(() => talk.Session.GenerateAsync([5]).GetAsyncEnumerator().MoveNextAsync().AsTask().GetAwaiter().GetResult());
                }
                Finish(turn);
            }
            Ask([.. Prompt(o).Take(1 + o.B % 12)], Asked(o), talk);
        }
    }

    static bool IsRunning(Call call) => !call.Request.IsOver && !call.Source.IsCancellationRequested;

    void Rewind(Talk talk, Operation o)
    {
        if (talk.Turn is { } turn)
        {
            if (IsRunning(turn))
            {
                Refused<InvalidRequestException>(() => talk.Session.RewindTo(0));
            }
            Finish(turn);
        }
        int length = talk.Session.Tokens.Count;
        Refused<InvalidRequestException>(() => talk.Session.RewindTo(length + 1));
        talk.Session.RewindTo(o.B % 4 == 0 ? 0 : o.B % (length + 1));
    }

    void EndTalk(Talk talk, Operation o)
    {
        if (o.B % 3 > 0)
        {
            if (talk.Turn is { } turn)
            {
                Finish(turn);
            }
            Pump(talk.Session.ClearAsync());
            Require(talk.Session.Tokens.Count == 0, "a cleared session has tokens");
            return;
        }
        // With its turn still running, if there is one.
        Pump(talk.Session.DisposeAsync().AsTask());
        talks.Remove(talk);
        Refused<ObjectDisposedException>(() => talk.Session.Fork());
        Refused<ObjectDisposedException>(() => talk.Session.RewindTo(0));
        if (talk.Turn is { } running)
        {
            Finish(running);
        }
    }

    void Pin(Operation o)
    {
        if (pins.Count >= 3)
        {
            return;
        }
        int[] prompt = Prompt(o);
        arrived = null;
        Task<PrecomputedPrompt> pinning = engine.PrecomputeAsync(prompt, o.A % 5 == 4 ? "tenant" : "");
        try
        {
            RunOut(arrived);
            pins.Add(pinning.GetAwaiter().GetResult());
            calls.ForEach(call => call.MetPins = true);
        }
        catch (Exception refusal) when (refusal is KvBudgetException or InvalidRequestException)
        {
            // The share that may be pinned is used up, or would not leave room for those who run.
        }
    }

    void Clear(Operation o)
    {
        Task<int> clearing = (o.B % 3) switch
        {
            0 => engine.ClearCacheAsync(),
            1 => engine.ClearCacheAsync("tenant"),
            _ => engine.ClearPrefixAsync(Prompt(o)),
        };
        Pump(clearing);
    }

    void Save(Operation o)
    {
        string path = Path.Combine(rig.Folder, $"{o.A % 4}.kv");
        Talk? talk = talks.Count > 0 && o.B % 2 == 0 ? talks[o.A % talks.Count] : null;
        if (talk?.Turn is { } turn)
        {
            Finish(turn);
        }
        int[] tokens = talk is null ? Prompt(o) : [.. talk.Session.Tokens];
        arrived = null;
        Task saving = talk is null ? engine.SaveAsync(tokens, path) : talk.Session.SaveAsync(path);
        try
        {
            RunOut(arrived);
            saving.GetAwaiter().GetResult();
            saved.RemoveAll(file => file.Path == path);
            saved.Add((path, tokens));
        }
        catch (Exception refusal) when (refusal is KvBudgetException or InvalidRequestException)
        {
            Require(tokens.Length is 0 or >= MixRig.Context || pins.Count > 0 || !Store.FitsEmpty(tokens.Length + 1), $"{tokens.Length} tokens were not saved: {refusal.Message}");
        }
    }

    void Restore(Operation o)
    {
        if (saved.Count == 0)
        {
            return;
        }
        (string path, int[] tokens) = saved[o.A % saved.Count];
        try
        {
            if (o.B % 2 == 0)
            {
                Pump(engine.RestoreAsync(path, o.B % 3 == 0 ? "tenant" : ""));
            }
            else if (talks.Count < 6)
            {
                KvSession session = Pump(engine.RestoreSessionAsync(path, Kept(o)));
                Require(session.Tokens.SequenceEqual(tokens), "a restored session has other tokens");
                talks.Add(new(session));
            }
        }
        catch (KvBudgetException)
        {
            // More pages than there are.
        }
    }

    // A listener that reads what is there; the slow ones read when all is over.
    void Hear(Call call, bool breakOff)
    {
        int spoken = call.Request.Tokens.Count - call.Request.PromptCount;
        if (call.Request.IsOver || call.Source.IsCancellationRequested || spoken == 0)
        {
            return;
        }
        while (call.Heard.Count < spoken)
        {
            Require((call.Pending ?? call.Pieces.MoveNextAsync().AsTask()).GetAwaiter().GetResult(), "the text ended early");
            call.Pending = null;
            call.Heard.Add(new(call.Pieces.Current.Token!.Value, call.Pieces.Current.Logprob!.Logprob));
        }
        if (breakOff)
        {
            call.Pieces.DisposeAsync().AsTask().GetAwaiter().GetResult();
            call.BrokenOff = true;
            Finish(call);
        }
    }

    // Steps until the engine has told everything, then compares.
    void Finish(Call call)
    {
        RunOut(call.Request);
        GenerationResult? result = null;
        bool refused = false;
        try
        {
            if (!call.BrokenOff)
            {
                (_, result) = MixRig.Listen(call.Pieces, call.Pending, call.Heard);
            }
        }
        catch (OperationCanceledException) when (call.Source.IsCancellationRequested)
        {
        }
        catch (ObjectDisposedException) when (call.Talk is not null && !talks.Contains(call.Talk))
        {
        }
        catch (KvBudgetException) when (call.MetPins)
        {
            Require(call.Heard.Count == 0, "a request was refused in the middle");
            refused = true;
        }
        calls.Remove(call);
        (Heard[] expected, FinishReason reason) = rig.Alone(shape.Map, shape.KvType, call.Prompt, call.Options);
        Heard[] heard = [.. call.Heard];
        Require(expected.AsSpan().StartsWith(heard), $"heard {Text(heard)}, alone it is {Text(expected)} (prompt {string.Join(' ', call.Prompt)})");
        if (result is not null)
        {
            Completed++;
            Require(heard.Length == expected.Length && result.FinishReason == reason, $"ended after {heard.Length} tokens: {result.FinishReason}; alone after {expected.Length}: {reason}");
            Require(result.CachedTokens < call.Prompt.Length && result.CachedTokens % shape.PageTokens == 0, $"{result.CachedTokens} tokens were cached");
        }
        else
        {
            Cancelled++;
        }
        if (call.Talk is { } talk)
        {
            talk.Turn = null;
            Require(!talks.Contains(talk) || talk.Session.Tokens.SequenceEqual(
                refused ? call.Prompt[..call.Said] : [.. call.Prompt, .. heard.Select(h => h.Token)]), "the session has other tokens");
        }
    }

    static string Text(Heard[] heard) => string.Join(' ', heard.Select(h => $"{h.Token}({h.Logprob:R})"));

    void RunOut(Request? request)
    {
        for (int turns = 0; request is { IsOver: false }; turns++)
        {
            bool ran = Step();
            Require(ran || request.IsOver, "the engine stands still with work to do");
            Require(turns < 3000, "a request does not come to its end");
        }
    }

    bool Step()
    {
        bool ran = engine.Turn();
        Store.Verify();
        requests.RemoveAll(request => request.IsOver);
        Require(requests.Count == engine.Scheduler.Running + engine.Scheduler.Waiting, "a request is lost");
        Require(engine.Scheduler.Running <= shape.MaxSequences, "too many run");
        KvUsage usage = Store.Usage;
        Require(usage.FreeBytes >= 0 && usage.FreeBytes + usage.ActiveBytes + usage.CachedBytes + usage.PinnedBytes == usage.ArenaBytes, "the bytes do not add up");
        if (ran)
        {
            Poison();
        }
        Settle();
        return ran;
    }

    // A first piece that was told has been heard before anything else happens, so that a program has one course.
    void Settle()
    {
        foreach (Call call in calls)
        {
            if (call.Pending is { } pending && (call.Request.IsOver || call.Request.Tokens.Count > call.Request.PromptCount || call.Source.IsCancellationRequested))
            {
                Task.WhenAny(pending).Wait();
            }
        }
    }

    // Whoever reads a page that is nobody's, or beyond a sequence's tokens, reads not-a-number.
    void Poison()
    {
        const int granuleBytes = KvPageShape.GranuleBytes;
        bool[] live = new bool[Store.ArenaBytes / granuleBytes];
        foreach (CachedPage page in Store.CachedPages())
        {
            Keep(page.Granule, page.Class);
        }
        foreach (Request request in requests)
        {
            if (request.Kv is { } kv)
            {
                int[] table = new int[kv.PageCount];
                for (int c = 0; c < engine.Model.Layout.Classes.Count; c++)
                {
                    kv.WriteTable(c, table);
                    foreach (int granule in table.Where(granule => granule >= 0))
                    {
                        Keep(granule, c);
                    }
                }
            }
        }
        byte[] poison = new byte[granuleBytes];
        Array.Fill(poison, (byte)0xFF);
        for (int granule = 0; granule < live.Length; granule++)
        {
            if (!live[granule])
            {
                engine.Model.Memory.Arena.Write((long)granule * granuleBytes, poison);
            }
        }

        void Keep(int granule, int c) => Array.Fill(live, true, granule, (int)(engine.Model.Layout.Classes[c].PageBytes / granuleBytes));
    }

    void End()
    {
        while (calls.Count > 0)
        {
            Finish(calls[0]);
        }
        foreach (Talk talk in talks)
        {
            Ask([7, 8], new() { MaxTokens = 3, IgnoreEos = true, Logprobs = 0 }, talk);
            if (talk.Turn is { } turn)
            {
                Finish(turn);
            }
        }
        foreach (PrecomputedPrompt pin in pins)
        {
            Pump(pin.DisposeAsync().AsTask());
        }
        Require(!engine.Turn() && !engine.Scheduler.HasWork, "something is left to do");
        Store.Verify();
        Require(Store.Usage is { ActiveBytes: 0, PinnedBytes: 0 }, "something is held for nobody");
        Pump(engine.ClearCacheAsync());
        Require(Store.Usage.FreeBytes == Store.ArenaBytes, "something is left after clearing");
    }

    // Errands are done between steps; nothing else moves meanwhile.
    void Pump(Task task)
    {
        while (!task.IsCompleted)
        {
            engine.TakeErrands();
            Thread.Yield();
        }
        task.GetAwaiter().GetResult();
    }

    T Pump<T>(Task<T> task)
    {
        Pump((Task)task);
        return task.Result;
    }

    static void Refused<T>(Action action) where T : Exception
    {
        try
        {
            action();
        }
        catch (T)
        {
            return;
        }
        throw new InvalidOperationException($"a {typeof(T).Name} was expected");
    }

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidOperationException(message);
        }
    }

    public void Dispose() => engine.Dispose();
}
