using KvCuda.Engine;

namespace KvCuda.Tests.Engine;

/// <summary>Tokens computed once stay useful, under the caller's control, and never change a result.</summary>
public class CacheTests
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    static readonly KvEngineOptions small = new() { Device = "cpu", Threads = 1, PageTokens = 16, KvType = "f32", MaxStepTokens = 32 };

    static Task<KvEngine> Golden(string name, KvEngineOptions? options = null) =>
        KvEngine.LoadAsync(Repository.Golden(name), options ?? small, cancellation: Cancellation);

    static int[] Prompt(int length, int seed = 1) =>
        [.. Enumerable.Range(0, length).Select(i => (int)((uint)(i * 2654435761u + seed * 40503u) >> 8) % 90 + 3)];

    static async Task<GenerationResult> Run(IAsyncEnumerable<GeneratedPiece> pieces)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in pieces.WithCancellation(Cancellation))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    [Theory]
    [InlineData("llama-standard")]
    [InlineData("lasagna-bottom")]
    [InlineData("sandwich-top")]
    [InlineData("yoco")]
    [InlineData("wide64-mix-window48")]
    [InlineData("gptneo-w5")]
    public async Task A_prompt_seen_before_is_not_computed_again_and_gives_the_same_tokens(string name)
    {
        await using KvEngine engine = await Golden(name);
        int[] prompt = Prompt(75);
        GenerateOptions options = new() { MaxTokens = 12, IgnoreEos = true };
        GenerationResult cold = await Run(engine.GenerateAsync(prompt, options));
        GenerationResult warm = await Run(engine.GenerateAsync(prompt, options));
        Assert.Equal(0, cold.CachedTokens);
        Assert.Equal(64, warm.CachedTokens);
        Assert.Equal(cold.Tokens, warm.Tokens);
        int[] other = [.. prompt[..40], .. Prompt(30, 2)];
        GenerationResult sharing = await Run(engine.GenerateAsync(other, options));
        Assert.InRange(sharing.CachedTokens, 0, 32);
        await engine.ClearCacheAsync();
        GenerationResult alone = await Run(engine.GenerateAsync(other, options));
        Assert.Equal(0, alone.CachedTokens);
        Assert.Equal(alone.Tokens, sharing.Tokens);
    }

    [Fact]
    public async Task Tenants_with_different_salts_never_find_each_others_tokens()
    {
        await using KvEngine engine = await Golden("llama-standard");
        GenerateOptions options = new() { MaxTokens = 2, IgnoreEos = true, Salt = "one" };
        await Run(engine.GenerateAsync(Prompt(50), options));
        Assert.Equal(0, (await Run(engine.GenerateAsync(Prompt(50), options with { Salt = "two" }))).CachedTokens);
        Assert.Equal(48, (await Run(engine.GenerateAsync(Prompt(50), options))).CachedTokens);
        await engine.ClearCacheAsync("one");
        Assert.Equal(0, (await Run(engine.GenerateAsync(Prompt(50), options))).CachedTokens);
        Assert.Equal(48, (await Run(engine.GenerateAsync(Prompt(50), options with { Salt = "two" }))).CachedTokens);
    }

    [Fact]
    public async Task A_waiting_request_that_later_pins_leave_no_room_for_is_one_clear_error()
    {
        long whole;
        await using (KvEngine probe = await Golden("llama-standard"))
        {
            whole = probe.KvBytesPerToken * probe.MaxContext;
        }
        await using KvEngine engine = await Golden("llama-standard", small with { KvBudgetBytes = whole, MaxSequences = 1 });
        using SemaphoreSlim gate = new(0);
        Task<bool> hold = engine.Ask(() => gate.Wait(TimeSpan.FromSeconds(30), Cancellation));
        // Both are accepted while nothing is pinned; the first pins before the second has begun.
        Task<PrecomputedPrompt> pinning = engine.PrecomputeAsync(Prompt(40), cancellation: Cancellation);
        Task<GenerationResult> all = Run(engine.GenerateAsync(Prompt(10), new() { MaxTokens = engine.MaxContext - 10, IgnoreEos = true }));
        gate.Release();
        Assert.True(await hold);
        await using (PrecomputedPrompt pinned = await pinning)
        {
            KvBudgetException error = await Assert.ThrowsAsync<KvBudgetException>(() => all);
            Assert.Contains("pinned", error.Message, StringComparison.Ordinal);
            Assert.Equal(4, (await Run(engine.GenerateAsync(Prompt(10), new() { MaxTokens = 4, IgnoreEos = true }))).GeneratedTokens);
        }
        int most = engine.MaxContext - 10;
        Assert.Equal(most, (await Run(engine.GenerateAsync(Prompt(10), new() { MaxTokens = most, IgnoreEos = true }))).GeneratedTokens);
    }

    [Fact]
    public async Task A_request_of_its_own_scope_neither_finds_nor_leaves_anything()
    {
        await using KvEngine engine = await Golden("llama-standard");
        GenerateOptions own = new() { MaxTokens = 2, IgnoreEos = true, Cache = CacheScope.Session };
        await Run(engine.GenerateAsync(Prompt(50), own));
        Assert.Equal(0, (await Run(engine.GenerateAsync(Prompt(50), own))).CachedTokens);
        Assert.Equal(0, (await Run(engine.GenerateAsync(Prompt(50), own with { Cache = CacheScope.Shared }))).CachedTokens);
    }

    [Fact]
    public async Task A_precomputed_prompt_survives_a_flood_of_other_prompts_until_its_handle_is_disposed()
    {
        long budget;
        await using (KvEngine roomy = await Golden("sandwich-top"))
        {
            budget = roomy.Model.Store.BytesFor(96) * 3;
        }
        await using KvEngine engine = await Golden("sandwich-top", small with { KvBudgetBytes = budget });
        GenerateOptions options = new() { MaxTokens = 2, IgnoreEos = true };
        int[] question = [.. Prompt(40), 5, 6];
        PrecomputedPrompt handle = await engine.PrecomputeAsync(Prompt(40), cancellation: Cancellation);
        Assert.Equal(32, handle.PinnedTokens);
        await Flood(engine);
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.True(status.PinnedBytes > 0);
        Assert.Equal(status.ArenaBytes, status.FreeBytes + status.ActiveBytes + status.CachedBytes + status.PinnedBytes);
        Assert.Equal(32, (await Run(engine.GenerateAsync(question, options))).CachedTokens);
        await handle.DisposeAsync();
        await Flood(engine);
        Assert.Equal(0, (await Run(engine.GenerateAsync(question, options))).CachedTokens);

        async Task Flood(KvEngine engine)
        {
            for (int seed = 100; seed < 120; seed++)
            {
                await Run(engine.GenerateAsync(Prompt(90, seed), options));
            }
        }
    }

    [Fact]
    public async Task A_precomputation_cancelled_while_it_pins_leaves_nothing_pinned()
    {
        await using KvEngine engine = await Golden("llama-standard");
        using CancellationTokenSource leaving = new();
        engine.BeforeAccept = leaving.Cancel; // the prompt is one step, which goes on to pin
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => engine.PrecomputeAsync(Prompt(20), cancellation: leaving.Token));
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.Equal(0, status.PinnedBytes);
        Assert.True(status.CachedBytes > 0);
    }

    [Fact]
    public async Task Clearing_everything_forgets_precomputed_prompts_too()
    {
        await using KvEngine engine = await Golden("llama-standard");
        PrecomputedPrompt handle = await engine.PrecomputeAsync(Prompt(40), cancellation: Cancellation);
        Assert.True(await engine.ClearCacheAsync() > 0);
        Assert.Equal(0, (await engine.GetKvStatusAsync()).PinnedBytes);
        await handle.DisposeAsync();
    }

    [Fact]
    public async Task A_conversation_computes_only_what_is_new_and_says_what_one_long_prompt_would()
    {
        await using KvEngine engine = await Golden("wide64-mix-window48");
        GenerateOptions options = new() { MaxTokens = 20, IgnoreEos = true };
        await using KvSession session = engine.OpenSession();
        GenerationResult first = await Run(session.GenerateAsync(Prompt(40), options));
        GenerationResult second = await Run(session.GenerateAsync(Prompt(10, 2), options));
        Assert.Equal(70, second.PromptTokens);
        Assert.Equal(48, second.CachedTokens);
        int[] whole = [.. Prompt(40), .. first.Tokens, .. Prompt(10, 2)];
        await engine.ClearCacheAsync();
        Assert.Equal(second.Tokens, (await Run(engine.GenerateAsync(whole, options))).Tokens);
        Assert.Equal([.. whole, .. second.Tokens], session.Tokens);
    }

    [Fact]
    public async Task Forks_and_rewinds_go_on_from_the_same_past()
    {
        await using KvEngine engine = await Golden("pizza-middle");
        GenerateOptions options = new() { MaxTokens = 8, IgnoreEos = true };
        await using KvSession session = engine.OpenSession();
        await Run(session.GenerateAsync(Prompt(30), options));
        await using KvSession fork = session.Fork();
        GenerationResult one = await Run(session.GenerateAsync(Prompt(5, 2), options));
        GenerationResult two = await Run(fork.GenerateAsync(Prompt(5, 2), options));
        Assert.Equal(one.Tokens, two.Tokens);
        session.RewindTo(38);
        GenerationResult again = await Run(session.GenerateAsync(Prompt(5, 2), options));
        Assert.Equal(one.Tokens, again.Tokens);
        Assert.True(again.CachedTokens >= 32);
        Assert.Throws<InvalidRequestException>(() => session.RewindTo(1000));
    }

    [Fact]
    public async Task A_session_takes_one_turn_at_a_time()
    {
        await using KvEngine engine = await Golden("llama-standard");
        await using KvSession session = engine.OpenSession();
        await foreach (GeneratedPiece _ in session.GenerateAsync(Prompt(5), new() { MaxTokens = 30, IgnoreEos = true }, Cancellation))
        {
            await Assert.ThrowsAsync<InvalidRequestException>(() => Run(session.GenerateAsync(Prompt(5))));
            break;
        }
        Assert.Equal(4, (await Run(session.GenerateAsync(Prompt(5), new() { MaxTokens = 4, IgnoreEos = true }))).GeneratedTokens);
    }

    [Fact]
    public async Task Many_prompts_through_a_small_store_give_the_tokens_of_a_cold_run()
    {
        GenerateOptions options = new() { MaxTokens = 10, IgnoreEos = true };
        int[][] prompts = [.. Enumerable.Range(0, 40).Select(i => (int[])[.. Prompt(16 * (i % 4), 7), .. Prompt(9 + i, i % 5)])];
        List<IReadOnlyList<int>> cold = [];
        long needed;
        await using (KvEngine engine = await Golden("sandwich-middle"))
        {
            foreach (int[] prompt in prompts)
            {
                await engine.ClearCacheAsync();
                cold.Add((await Run(engine.GenerateAsync(prompt, options))).Tokens);
            }
            needed = engine.Model.Store.BytesFor(110);
        }
        await using (KvEngine engine = await Golden("sandwich-middle", small with { KvBudgetBytes = needed * 2 }))
        {
            GenerationResult[] results = await Task.WhenAll(prompts.Select(prompt => Run(engine.GenerateAsync(prompt, options))));
            for (int i = 0; i < prompts.Length; i++)
            {
                Assert.Equal(cold[i], results[i].Tokens);
            }
            Assert.Contains(results, result => result.CachedTokens > 0);
        }
    }
}
