// What one caller gives the engine never ends it for others.
using KvCuda.Engine;
using KvCuda.Text;

namespace KvCuda.Tests.Engine;

public sealed class IsolationTests : IDisposable
{
    static readonly GenerateOptions five = new() { MaxTokens = 5, IgnoreEos = true };
    readonly MixRig rig = new();

    public void Dispose() => rig.Dispose();

    static KvEngineOptions Options => new() { Device = "cpu", Threads = 1, KvType = "f32", MaxSequences = 3, MaxStepTokens = 16 };

    KvEngine Engine(KvEngineOptions? options = null) => rig.Engine(options ?? Options, 16);

    static async Task<GenerationResult> Result(IAsyncEnumerable<GeneratedPiece> pieces)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in pieces)
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    static void Run(KvEngine engine)
    {
        while (engine.Turn()) { }
    }

    [Fact]
    public async Task What_a_caller_does_with_a_prompt_after_the_call_changes_nothing()
    {
        using KvEngine engine = Engine();
        Task<GenerationResult> expected = Result(engine.GenerateAsync([5, 6, 7], five));
        Run(engine);
        List<int> prompt = [5, 6, 7];
        List<CacheRetention> retention = [new(0, null, 50)];
        IAsyncEnumerable<GeneratedPiece> pieces = engine.GenerateAsync(prompt, five with { Retention = retention });
        prompt[1] = 1_000_000;
        prompt.AddRange(new int[500]);
        retention.Add(null!);
        Task<GenerationResult> result = Result(pieces);
        Run(engine);
        Assert.Equal((await expected).Tokens, (await result).Tokens);
        Assert.Null(engine.Failure);
    }

    [Fact]
    public async Task A_prompt_that_is_emptied_while_it_is_precomputed_is_pinned_as_it_was()
    {
        using KvEngine engine = Engine(Options with { PinnedShare = 1 });
        List<int> prompt = [.. Enumerable.Range(3, 33)];
        Task<PrecomputedPrompt> precomputing = engine.PrecomputeAsync(prompt);
        prompt.Clear();
        Run(engine);
        Assert.Equal(32, (await precomputing).PinnedTokens);
    }

    [Fact]
    public void Options_that_are_null_are_named()
    {
        using KvEngine engine = Engine();
        foreach (GenerateOptions options in new GenerateOptions[]
        {
            new() { Stop = null! }, new() { Stop = [null!] }, new() { Retention = null! }, new() { Retention = [null!] }, new() { Salt = null! },
            new() { StopTokens = null! }, new() { Retention = [.. Enumerable.Repeat(new CacheRetention(0, 1, 5), 1025)] },
        })
        {
            Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync([5], options));
        }
        Assert.Throws<InvalidRequestException>(() => new KvEngineOptions { Device = null! }.Validate());
        Assert.Throws<InvalidRequestException>(() => new KvEngineOptions { TimeProvider = null! }.Validate());
    }

    sealed class StoppedClock : TimeProvider
    {
        public bool Broken { get; set; }

        public override long GetTimestamp() => Broken ? throw new TimeoutException("no time") : 0;
    }

    [Fact]
    public async Task A_clock_that_throws_ends_nothing()
    {
        StoppedClock clock = new();
        using KvEngine engine = Engine(Options with { TimeProvider = clock });
        clock.Broken = true;
        Task<GenerationResult> result = Result(engine.GenerateAsync([5, 6], five));
        Run(engine);
        Assert.Equal(5, (await result).GeneratedTokens);
    }

    [Fact]
    public async Task A_full_queue_refuses_with_an_error_of_its_own_and_takes_more_when_there_is_room()
    {
        using KvEngine engine = Engine(Options with { MaxWaiting = 2 });
        Task<GenerationResult> first = Result(engine.GenerateAsync([5], five)), second = Result(engine.GenerateAsync([6], five));
        QueueFullException full = await Assert.ThrowsAsync<QueueFullException>(() => Result(engine.GenerateAsync([7], five)));
        Assert.Equal(2, full.MaxWaiting);
        engine.Turn();
        Task<GenerationResult> third = Result(engine.GenerateAsync([7], five));
        Run(engine);
        Assert.All(await Task.WhenAll(first, second, third), result => Assert.Equal(5, result.GeneratedTokens));
    }

    [Fact]
    public async Task A_cancelled_request_leaves_the_queue_with_the_next_step_and_frees_its_place()
    {
        using KvEngine engine = Engine(Options with { MaxSequences = 1, MaxWaiting = 2 });
        Task<GenerationResult> running = Result(engine.GenerateAsync([5], five));
        engine.Turn();
        using CancellationTokenSource source = new();
        Task<GenerationResult> cancelled = Result(engine.GenerateAsync([6], five, source.Token)), stays = Result(engine.GenerateAsync([7], five));
        engine.Turn();
        Assert.Equal(2, engine.Scheduler.Waiting);
        await source.CancelAsync();
        engine.Turn();
        Assert.Equal(1, engine.Scheduler.Waiting);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        Task<GenerationResult> another = Result(engine.GenerateAsync([8], five));
        Run(engine);
        Assert.All(await Task.WhenAll(running, stays, another), result => Assert.Equal(5, result.GeneratedTokens));
    }

    [Fact]
    public async Task Logits_that_are_not_numbers_end_their_request_with_an_error_that_says_so_and_others_go_on()
    {
        using KvEngine engine = Engine();
        Task<GenerationResult> good = Result(engine.GenerateAsync([5, 6, 7], five));
        Run(engine);
        // The embedding of one token becomes NaN: whoever says it gets NaN everywhere.
        using var damaged = new MixRig();
        Damage(damaged, token: 9);
        using KvEngine bad = damaged.Engine(Options, 16);
        Task<GenerationResult> first = Result(bad.GenerateAsync([5, 9], five)), drawn = Result(bad.GenerateAsync([9], five with { Temperature = 1, TopK = 4 }));
        Run(bad);
        await Assert.ThrowsAsync<ModelOutputException>(() => first);
        await Assert.ThrowsAsync<ModelOutputException>(() => drawn);
        Assert.Null(bad.Failure);
        Task<GenerationResult> other = Result(bad.GenerateAsync([5, 6, 7], five));
        Run(bad);
        Assert.Equal((await good).Tokens, (await other).Tokens);
        Assert.Equal(0, bad.Model.Store.Usage.ActiveBytes);
    }

    // Writes NaN over a row of the embedding (f32, 16 numbers a row) where it lies in the file.
    static void Damage(MixRig rig, int token)
    {
        string path = Path.Combine(rig.Folder, "model.safetensors");
        byte[] bytes = File.ReadAllBytes(path);
        int header = (int)BitConverter.ToInt64(bytes, 0);
        using var json = System.Text.Json.JsonDocument.Parse(bytes.AsMemory(8, header));
        int start = json.RootElement.GetProperty("model.embed_tokens.weight").GetProperty("data_offsets")[0].GetInt32();
        for (int i = 0; i < 16; i++)
        {
            BitConverter.TryWriteBytes(bytes.AsSpan(8 + header + start + 4 * (16 * token + i)), float.NaN);
        }
        File.WriteAllBytes(path, bytes);
    }

    [Fact]
    public async Task A_reader_far_behind_makes_only_his_own_request_rest()
    {
        using KvEngine engine = Engine(Options with { MaxSequences = 1 });
        List<Request> requests = [];
        engine.Arriving = requests.Add;
        await using IAsyncEnumerator<GeneratedPiece> slow = engine.GenerateAsync([5],
            new() { MaxTokens = Request.MostUnread + 500, IgnoreEos = true, WhenFull = ContextFull.Slide, Window = 16 }).GetAsyncEnumerator();
        Task<bool> next = slow.MoveNextAsync().AsTask();
        Run(engine);
        Assert.InRange(requests[0].Unread, Request.MostUnread - 1, Request.MostUnread);
        Assert.False(requests[0].IsOver);
        Task<GenerationResult> other = Result(engine.GenerateAsync([6], five)); // the only place is the slow one's
        Run(engine);
        Assert.Equal(5, (await other).GeneratedTokens);
        int read = 0;
        while (await next)
        {
            read += slow.Current.Token is null ? 0 : 1;
            Run(engine);
            next = slow.MoveNextAsync().AsTask();
        }
        Assert.Equal(Request.MostUnread + 500, read);
    }

    [Fact]
    public async Task Warming_up_leaves_nothing_behind()
    {
        using KvEngine engine = Engine();
        Task warming = engine.WarmupAsync();
        for (int i = 0; i < 100 && !warming.IsCompleted; i++)
        {
            Run(engine);
            await Task.WhenAny(warming, Task.Delay(20));
        }
        await warming;
        KvCuda.KvStore.KvUsage usage = engine.Model.Store.Usage;
        Assert.Equal((0, 0), (usage.ActiveBytes, usage.CachedBytes));
    }
}
