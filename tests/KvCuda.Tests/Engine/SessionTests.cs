using System.Collections.Concurrent;
using KvCuda.Engine;
using KvCuda.Model;

namespace KvCuda.Tests.Engine;

/// <summary>Conversations: many at once, at their ends, and when callers are careless.</summary>
public sealed class SessionTests : IDisposable
{
    readonly MixRig rig = new();
    readonly HandClock clock = new();

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    static readonly GenerateOptions four = new() { MaxTokens = 4, IgnoreEos = true, Logprobs = 0 };

    public void Dispose() => rig.Dispose();

    KvEngine Engine(int sequences = 4, long budget = 1 << 20)
    {
        KvEngineOptions options = new()
        {
            Device = "cpu", Threads = 1, KvType = "f32", MaxSequences = sequences, MaxStepTokens = 32, Numerics = "consistent",
            KvBudgetBytes = budget, TimeProvider = clock, PageTokens = 16,
        };
        return new(LoadedModel.Load(rig.Folder, options), null, options);
    }

    static int[] Prompt(int length, int seed = 0) => [.. Enumerable.Range(0, length).Select(i => (i * 7 + seed * 11 + seed / 36) % 36 + 3)];

    static async Task<GenerationResult> Run(IAsyncEnumerable<GeneratedPiece> pieces)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in pieces.WithCancellation(Cancellation))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    [Fact]
    public async Task Hundreds_of_conversations_at_once_say_what_each_says_alone()
    {
        const int count = 300;
        // Room for about twelve of them.
        await using KvEngine engine = Engine(sequences: 16, budget: 12 * 4 * 16 * 4 * 2 * 8 * sizeof(float));
        KvSession[] sessions = [.. Enumerable.Range(0, count).Select(i => engine.OpenSession(new() { Cache = i % 3 == 0 ? CacheScope.Session : CacheScope.Shared }))];
        int[][] prompts = [.. Enumerable.Range(0, count).Select(i => Prompt(20 + i % 7, i % 40))];
        GenerationResult[][] turns = await Task.WhenAll(sessions.Select(async (session, i) => new[]
        {
            await Run(session.GenerateAsync(prompts[i], four, Cancellation)),
            await Run(session.GenerateAsync([5, 6, 7], four, Cancellation)),
        }));
        for (int i = 0; i < count; i++)
        {
            int[] first = [.. rig.Alone("0_1_2_3", "f32", prompts[i], four).Tokens.Select(heard => heard.Token)];
            int[] second = [.. rig.Alone("0_1_2_3", "f32", [.. prompts[i], .. first, 5, 6, 7], four).Tokens.Select(heard => heard.Token)];
            Assert.Equal(first, turns[i][0].Tokens);
            Assert.Equal(second, turns[i][1].Tokens);
            Assert.Equal([.. prompts[i], .. first, 5, 6, 7, .. second], sessions[i].Tokens);
            await sessions[i].DisposeAsync();
        }
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.Equal(0, status.ActiveBytes);
        Assert.Equal(status.ArenaBytes, status.FreeBytes + status.CachedBytes);
    }

    [Fact]
    public async Task After_its_idle_time_a_conversation_is_forgotten_by_the_cache_not_by_the_session()
    {
        await using KvEngine engine = Engine();
        await using KvSession session = engine.OpenSession(new() { IdleTimeToLive = TimeSpan.FromMinutes(10) });
        await Run(session.GenerateAsync(Prompt(30), four));
        clock.Milliseconds += 9 * 60_000;
        Assert.Equal(32, (await Run(session.GenerateAsync([5], four))).CachedTokens);
        clock.Milliseconds += 9 * 60_000; // counted from the last turn
        Assert.Equal(32, (await Run(session.GenerateAsync([6], four))).CachedTokens);
        clock.Milliseconds += 10 * 60_000;
        Assert.Equal(0, (await engine.GetKvStatusAsync()).CachedBytes);
        int[] whole = [.. session.Tokens, 7];
        GenerationResult late = await Run(session.GenerateAsync([7], four));
        Assert.Equal(0, late.CachedTokens);
        Assert.Equal(rig.Alone("0_1_2_3", "f32", whole, four).Tokens.Select(heard => heard.Token), late.Tokens);
        Assert.True((await engine.GetKvStatusAsync()).EvictedExpired > 0);
    }

    [Fact]
    public async Task Disposing_ends_the_turn_that_runs_and_leaves_nothing()
    {
        await using KvEngine engine = Engine();
        KvSession session = engine.OpenSession(new() { Cache = CacheScope.Session });
        await using IAsyncEnumerator<GeneratedPiece> turn = session.GenerateAsync(Prompt(20), four with { MaxTokens = 44 }, Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.True(await turn.MoveNextAsync());
        await session.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => { while (await turn.MoveNextAsync()) { } });
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.Equal((0, 0), (status.ActiveBytes, status.CachedBytes));
        await session.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Run(session.GenerateAsync([5])));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => session.SaveAsync("nowhere.kv", Cancellation));
        await Assert.ThrowsAsync<ObjectDisposedException>(session.ClearAsync);
        Assert.Throws<ObjectDisposedException>(() => session.RewindTo(0));
        Assert.Throws<ObjectDisposedException>(session.Fork);
        Assert.Equal(4, (await Run(engine.GenerateAsync(Prompt(20), four))).GeneratedTokens);
    }

    [Fact]
    public async Task Of_a_private_conversation_and_its_fork_each_outlives_the_other()
    {
        await using KvEngine engine = Engine();
        KvSession session = engine.OpenSession(new() { Cache = CacheScope.Session });
        await Run(session.GenerateAsync(Prompt(40), four));
        KvSession fork = session.Fork();
        Assert.Equal(32, (await Run(fork.GenerateAsync([5], four))).CachedTokens);
        await session.DisposeAsync();
        Assert.Equal(48, (await Run(fork.GenerateAsync([6], four))).CachedTokens);
        Assert.Equal(0, (await Run(engine.GenerateAsync(fork.Tokens, four))).CachedTokens);
        await engine.ClearCacheAsync();
        await Run(fork.GenerateAsync([7], four));
        await fork.DisposeAsync();
        Assert.Equal(0, (await engine.GetKvStatusAsync()).CachedBytes);
    }

    [Fact]
    public async Task A_turn_that_pins_leave_no_room_for_loses_nothing_of_the_conversation()
    {
        // Four pages, one of them pinned.
        await using KvEngine engine = Engine(budget: 4 * 16 * 4 * 2 * 8 * sizeof(float));
        await using KvSession session = engine.OpenSession();
        await Run(session.GenerateAsync(Prompt(20), four));
        int[] said = [.. session.Tokens];
        await using (await engine.PrecomputeAsync(Prompt(16, 5), cancellation: Cancellation))
        {
            await Assert.ThrowsAsync<KvBudgetException>(() => Run(session.GenerateAsync([5, 6], four with { MaxTokens = 30 })));
            Assert.Equal(said, session.Tokens);
            Assert.Equal(4, (await Run(session.GenerateAsync([5, 6], four))).GeneratedTokens);
        }
        Assert.Equal(30, (await Run(session.GenerateAsync([7], four with { MaxTokens = 30 }))).GeneratedTokens);
    }

    [Fact]
    public async Task A_turn_refused_after_it_began_keeps_what_was_read_of_it()
    {
        KvEngineOptions options = new() { Device = "cpu", Threads = 1, KvType = "f32", MaxSequences = 1, MaxStepTokens = 32, KvBudgetBytes = 1 << 20 };
        using KvEngine engine = rig.Engine(options, pageTokens: 16);
        Request? request = null;
        engine.Arriving = arriving => request = arriving;
        KvSession session = engine.OpenSession();
        List<int> said = [.. Prompt(10)];
        IAsyncEnumerator<GeneratedPiece> turn = session.GenerateAsync(said, four, Cancellation).GetAsyncEnumerator(Cancellation);
        Task<bool> first = turn.MoveNextAsync().AsTask();
        engine.Turn();
        Assert.True(await first);
        int read = turn.Current.Token!.Value;
        said.Clear(); // the caller's own
        request!.Fail(new KvBudgetException("No room.", 2, 1));
        await Assert.ThrowsAsync<KvBudgetException>(() => turn.MoveNextAsync().AsTask());
        Assert.Equal([.. Prompt(10), read], session.Tokens);
    }

    [Fact]
    public async Task Two_who_dispose_an_engine_at_once_both_return_when_all_is_freed()
    {
        KvEngine engine = Engine();
        using SemaphoreSlim gate = new(0);
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<bool> busy = engine.Ask(() =>
        {
            entered.SetResult();
            return gate.Wait(TimeSpan.FromSeconds(30), Cancellation);
        });
        await entered.Task;
        Task one = engine.DisposeAsync().AsTask(), other = engine.DisposeAsync().AsTask();
        Assert.False(one.IsCompleted);
        Assert.False(other.IsCompleted);
        gate.Release();
        await one;
        await other;
        Assert.True(await busy);
    }

    [Fact]
    public async Task A_store_that_fails_as_a_request_ends_is_told_to_its_reader()
    {
        await using KvEngine engine = Engine();
        // Closed under the engine's feet: giving the pages back fails.
        IAsyncEnumerable<GeneratedPiece> pieces = engine.Stream(Prompt(5), four, default, engine.Model.Store.Close, Cancellation);
        await Assert.ThrowsAsync<DeviceException>(() => Run(pieces).WaitAsync(TimeSpan.FromMinutes(1), Cancellation));
        Assert.IsType<DeviceException>(engine.Failure);
    }

    [Fact]
    public async Task Callers_of_every_kind_at_once_leave_the_store_whole()
    {
        await using KvEngine engine = Engine(sequences: 6, budget: 20 * 16 * 4 * 2 * 8 * sizeof(float));
        ConcurrentBag<(int[] Prompt, int[] Tokens)> said = [];
        await Task.WhenAll(Enumerable.Range(0, 24).Select(caller => Task.Run(async () =>
        {
            var random = new Random(caller);
            KvSession session = engine.OpenSession(new() { Cache = caller % 4 == 0 ? CacheScope.Session : CacheScope.Shared });
            for (int i = 0; i < 25; i++)
            {
                int[] prompt = Prompt(random.Next(1, 40), random.Next(3));
                switch (random.Next(8))
                {
                    case 0:
                        await foreach (GeneratedPiece _ in engine.GenerateAsync(prompt, four with { MaxTokens = 20 }, Cancellation))
                        {
                            break;
                        }
                        break;
                    case 1:
                        using (CancellationTokenSource source = new())
                        {
                            Task<GenerationResult> run = Run(engine.GenerateAsync(prompt, four with { MaxTokens = 20 }, source.Token));
                            await source.CancelAsync();
                            await Task.WhenAny(run);
                        }
                        break;
                    case 2:
                        try
                        {
                            await (await engine.PrecomputeAsync(prompt, cancellation: Cancellation)).DisposeAsync();
                        }
                        catch (InvalidRequestException)
                        {
                            // The share that may be pinned is used up.
                        }
                        break;
                    case 3:
                        await (i % 5 == 0 ? engine.ClearCacheAsync() : engine.ClearPrefixAsync(prompt));
                        break;
                    case 4:
                        KvSession fork = session.Fork();
                        await session.DisposeAsync();
                        session = fork;
                        break;
                    case 5:
                        session.RewindTo(random.Next(session.Tokens.Count + 1));
                        break;
                    default:
                        int[] before = [.. session.Tokens, .. prompt];
                        if (before.Length + 4 >= MixRig.Context)
                        {
                            await session.ClearAsync();
                            before = prompt;
                        }
                        said.Add((before, [.. (await Run(session.GenerateAsync(prompt, four))).Tokens]));
                        break;
                }
            }
            await session.DisposeAsync();
        }, Cancellation)));
        Assert.Equal(0, (await engine.GetKvStatusAsync()).ActiveBytes);
        Assert.Equal(0, (await engine.GetKvStatusAsync()).PinnedBytes);
        await engine.Ask(() => { engine.Model.Store.Verify(); return true; });
        Assert.All(said, turn => Assert.Equal(rig.Alone("0_1_2_3", "f32", turn.Prompt, four).Tokens.Select(heard => heard.Token), turn.Tokens));
        await engine.ClearCacheAsync();
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.Equal(status.ArenaBytes, status.FreeBytes);
    }

    [Fact]
    public async Task What_nobody_can_ever_find_is_not_kept()
    {
        await using KvEngine engine = Engine();
        await Run(engine.GenerateAsync(Prompt(40), four with { Cache = CacheScope.Session }));
        Assert.Equal(0, (await engine.GetKvStatusAsync()).CachedBytes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(23)]
    [InlineData(43)]
    [InlineData(44)]
    public async Task A_rewound_conversation_goes_on_as_if_the_rest_had_never_been_said(int count)
    {
        await using KvEngine engine = Engine();
        await using KvSession session = engine.OpenSession();
        await Run(session.GenerateAsync(Prompt(40), four));
        int[] past = [.. session.Tokens.Take(count)];
        session.RewindTo(count);
        GenerationResult result = await Run(session.GenerateAsync([9, 8], four));
        Assert.Equal(rig.Alone("0_1_2_3", "f32", [.. past, 9, 8], four).Tokens.Select(heard => heard.Token), result.Tokens);
        Assert.Equal((count + 1) / 16 * 16, result.CachedTokens);
        Assert.Throws<InvalidRequestException>(() => session.RewindTo(session.Tokens.Count + 1));
        Assert.Throws<InvalidRequestException>(() => session.RewindTo(-1));
    }
}
