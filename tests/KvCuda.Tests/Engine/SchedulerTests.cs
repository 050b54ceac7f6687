using System.Runtime.InteropServices;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;

namespace KvCuda.Tests.Engine;

/// <summary>Who runs when, on engines whose steps the test takes.</summary>
public sealed class SchedulerTests : IDisposable
{
    readonly MixRig rig = new();

    static readonly KvEngineOptions options = new()
    {
        Device = "cpu", Threads = 1, KvType = "f32", MaxSequences = 4, MaxStepTokens = 8, Numerics = "consistent", KvBudgetBytes = 1 << 20,
    };

    public void Dispose() => rig.Dispose();

    static int[] Prompt(int length, int seed = 0) => [.. Enumerable.Range(0, length).Select(i => (i * 7 + seed * 11) % 36 + 3)];

    static readonly GenerateOptions five = new() { MaxTokens = 5, IgnoreEos = true, Logprobs = 0 };

    static (IAsyncEnumerator<GeneratedPiece> Pieces, Task<bool> First) Start(KvEngine engine, int[] prompt, GenerateOptions asked)
    {
        IAsyncEnumerator<GeneratedPiece> pieces = engine.GenerateAsync(prompt, asked).GetAsyncEnumerator();
        return (pieces, pieces.MoveNextAsync().AsTask());
    }

    static T Done<T>(Task<T> task) => task.GetAwaiter().GetResult();

    static T Answer<T>(KvEngine engine, Task<T> asked)
    {
        engine.TakeErrands();
        return asked.GetAwaiter().GetResult();
    }

    [Fact]
    public void A_decode_step_of_256_requests_allocates_nothing()
    {
        using LoadedModel model = LoadedModel.Load(rig.Folder, (options with { MaxSequences = 256, MaxStepTokens = 256, KvBudgetBytes = 32 << 20 }));
        var scheduler = new Scheduler(model, new(model));
        for (int i = 0; i < 256; i++)
        {
            scheduler.Add(new([3 + i % 30, 3 + i / 30], new() { MaxTokens = 62, IgnoreEos = true }, null, [], model.MaxContext, 0, new KvScope(""), default));
        }
        long Steps(int count)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int step = 0; step < count; step++)
            {
                List<Scheduler.Scheduled> scheduled = scheduler.Next();
                model.Pass.Upload();
                foreach (Scheduler.Scheduled rows in scheduled)
                {
                    model.Pass.Accept(rows.Item);
                    if (rows.Wanted > 0)
                    {
                        rows.Request.Tokens.Add(7);
                    }
                }
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Steps(12);
        Assert.Equal(256, scheduler.Running);
        // Lists of tokens double now and then; between two doublings nothing is allocated.
        Assert.Equal(0, Enumerable.Range(0, 10).Min(_ => Steps(4)));
    }

    [Fact]
    public void The_oldest_request_keeps_its_pages_whatever_the_younger_ones_need()
    {
        // Pages of 2 tokens; room for 40 tokens: the oldest needs 38 of them, the younger would like 24 each.
        long page = 2 * 4 * 2 * 8 * sizeof(float); // 2 tokens, 4 owners, K and V, head dim 8
        using KvEngine engine = rig.Engine(options with { KvBudgetBytes = 20 * page, MaxStepTokens = 4 }, pageTokens: 2);
        List<Request> requests = [];
        engine.Arriving = requests.Add;
        _ = Start(engine, Prompt(33), five);
        for (int i = 1; i < 4; i++)
        {
            _ = Start(engine, Prompt(4, i), five with { MaxTokens = 20 });
        }
        bool began = false;
        while (!requests[0].IsOver)
        {
            Assert.True(engine.Turn());
            began |= requests[0].Kv is not null;
            Assert.True(!began || requests[0].IsOver || requests[0].Kv is not null, "the oldest was preempted");
        }
        while (engine.Turn()) { }
        Assert.All(requests, request => Assert.True(request.IsOver));
        Assert.True(engine.Scheduler.Preemptions > 0);
    }

    [Fact]
    public void A_slow_reader_never_stalls_the_rest_and_misses_nothing()
    {
        using KvEngine engine = rig.Engine(options, pageTokens: 16);
        (IAsyncEnumerator<GeneratedPiece> slow, Task<bool> first) = Start(engine, Prompt(9), five with { MaxTokens = 40 });
        List<Heard> told = [];
        for (int i = 1; i < 6; i++)
        {
            (IAsyncEnumerator<GeneratedPiece> quick, Task<bool> its) = Start(engine, Prompt(9, i), five);
            for (int step = 0; step < 7 && !its.IsCompleted; step++)
            {
                Assert.True(engine.Turn());
            }
            while (engine.Turn() && engine.Scheduler.Running > 1) { }
            Assert.Equal(5, MixRig.Listen(quick, its).Heard.Count);
        }
        while (engine.Turn()) { }
        Assert.Equal(rig.Alone("0_1_2_3", "f32", Prompt(9), five with { MaxTokens = 40 }).Tokens, MixRig.Listen(slow, first, told).Heard);
    }

    [Fact]
    public void What_would_fit_is_told_before_work_starts()
    {
        long page = 16 * 4 * 2 * 8 * sizeof(float);
        using KvEngine engine = rig.Engine(options with { KvBudgetBytes = 4 * page }, pageTokens: 16);
        RequestPlan never = Answer(engine, engine.PlanAsync(Prompt(40), new() { MaxTokens = 100 }));
        Assert.Equal((RequestFit.Now, 64, 4 * page, 0), (never.Fit, never.LongestTokens, never.NeededBytes, never.CachedTokens));

        using KvEngine small = rig.Engine(options with { KvBudgetBytes = 3 * page }, pageTokens: 16);
        Assert.Equal(RequestFit.Never, Answer(small, small.PlanAsync(Prompt(40), new() { MaxTokens = 100 })).Fit);
        KvBudgetException error = Assert.Throws<KvBudgetException>(() => small.GenerateAsync(Prompt(40), new() { MaxTokens = 100 }));
        Assert.Equal((4 * page, 3 * page), (error.NeededBytes, error.BudgetBytes));

        (IAsyncEnumerator<GeneratedPiece> pieces, Task<bool> first) = Start(engine, Prompt(40), five with { MaxTokens = 9 });
        engine.Turn();
        Assert.Equal(RequestFit.Later, Answer(engine, engine.PlanAsync(Prompt(20, 1), new() { MaxTokens = 30 })).Fit);
        while (engine.Turn()) { }
        MixRig.Listen(pieces, first);
        RequestPlan warm = Answer(engine, engine.PlanAsync(Prompt(40), new() { MaxTokens = 9 }));
        Assert.Equal((RequestFit.Now, 32), (warm.Fit, warm.CachedTokens));
    }

    [Fact]
    public void A_request_that_begins_with_a_pinned_prompt_needs_room_only_for_the_rest()
    {
        // Four pages; one is pinned. A whole context needs four: three beside the pinned one, if it begins with that.
        long page = 16 * 4 * 2 * 8 * sizeof(float);
        using KvEngine engine = rig.Engine(options with { KvBudgetBytes = 4 * page }, pageTokens: 16);
        Task<PrecomputedPrompt> pinning = engine.PrecomputeAsync(Prompt(16));
        while (engine.Turn()) { }
        Assert.Equal(16, Done(pinning).PinnedTokens);
        GenerateOptions whole = five with { MaxTokens = 40 };
        (IAsyncEnumerator<GeneratedPiece> pieces, Task<bool> first) = Start(engine, Prompt(24), whole);
        while (engine.Turn()) { }
        (List<Heard> heard, GenerationResult? result) = MixRig.Listen(pieces, first);
        Assert.Equal(16, result!.CachedTokens);
        Assert.Equal(rig.Alone("0_1_2_3", "f32", Prompt(24), whole).Tokens, heard);

        (pieces, first) = Start(engine, Prompt(24, 1), whole);
        engine.Turn();
        Assert.Contains("pinned", Assert.Throws<KvBudgetException>(() => MixRig.Listen(pieces, first)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_pin_never_takes_the_room_of_a_request_that_was_preempted_in_the_middle()
    {
        // A map that looks upward, so that a prompt comes in chunks beside which others run. 26 pages of 2 tokens; the prompt
        // takes 25, the other one would like 11 in the end and has told its first token when it loses its own.
        long page = 2 * 3 * 2 * 8 * sizeof(float);
        using KvEngine engine = rig.Engine(
            options with { Sharing = "0_2_2_3", KvBudgetBytes = 26 * page, MaxStepTokens = 40, PinnedShare = 1 }, pageTokens: 2);
        Task<PrecomputedPrompt> pinning = engine.PrecomputeAsync(Prompt(50));
        GenerateOptions twenty = five with { MaxTokens = 20 };
        (IAsyncEnumerator<GeneratedPiece> pieces, Task<bool> first) = Start(engine, Prompt(2, 1), twenty);
        while (engine.Turn()) { }
        Assert.True(engine.Scheduler.Preemptions > 0);
        Assert.Contains("PinnedShare", Assert.Throws<InvalidRequestException>(() => Done(pinning)).Message, StringComparison.Ordinal);
        Assert.Equal(rig.Alone("0_2_2_3", "f32", Prompt(2, 1), twenty).Tokens, MixRig.Listen(pieces, first).Heard);
        // With nobody to leave room for, the same prompt can be pinned.
        pinning = engine.PrecomputeAsync(Prompt(50));
        while (engine.Turn()) { }
        Assert.Equal(50, Done(pinning).PinnedTokens);
    }

    [Fact]
    public void A_pin_leaves_a_running_request_the_room_to_begin_again()
    {
        // 26 pages of 2 tokens. The stream has slid and holds few; begun again, it would need its chunk of 40 tokens as well, for
        // which 16 pinned pages leave no room.
        long page = 2 * 4 * 2 * 8 * sizeof(float);
        using KvEngine engine = rig.Engine(options with { KvBudgetBytes = 26 * page, MaxStepTokens = 40, PinnedShare = 1 }, pageTokens: 2);
        Request? stream = null;
        engine.Arriving = request => stream ??= request;
        GenerateOptions slide = five with { MaxTokens = 58, WhenFull = ContextFull.Slide, Sinks = 0, Window = 8 };
        (IAsyncEnumerator<GeneratedPiece> pieces, Task<bool> first) = Start(engine, Prompt(2, 1), slide);
        while (engine.Turn() && stream!.Tokens.Count < 50) { }
        Task<PrecomputedPrompt> pinning = engine.PrecomputeAsync(Prompt(32));
        while (engine.Turn()) { }
        Assert.Contains("PinnedShare", Assert.Throws<InvalidRequestException>(() => Done(pinning)).Message, StringComparison.Ordinal);
        Assert.Equal(58, MixRig.Listen(pieces, first).Heard.Count);
        Assert.Equal(0, engine.Scheduler.Preemptions);
        pinning = engine.PrecomputeAsync(Prompt(32));
        while (engine.Turn()) { }
        Assert.Equal(32, Done(pinning).PinnedTokens);
    }

    [Theory]
    [InlineData(31, 16)]
    [InlineData(32, 16)]
    [InlineData(33, 32)]
    [InlineData(48, 32)]
    [InlineData(63, 48)]
    public void A_prompt_wholly_cached_computes_at_least_its_last_token_up_to_the_end_of_the_context(int length, int cached)
    {
        using KvEngine engine = rig.Engine(options, pageTokens: 16);
        GenerateOptions asked = five with { MaxTokens = 1000 };
        (Heard[] expected, FinishReason reason) = rig.Alone("0_1_2_3", "f32", Prompt(length), asked);
        Assert.Equal(FinishReason.ContextFull, reason);
        Assert.Equal(MixRig.Context - length, expected.Length);
        for (int round = 0; round < 2; round++)
        {
            (IAsyncEnumerator<GeneratedPiece> pieces, Task<bool> first) = Start(engine, Prompt(length), asked);
            while (engine.Turn()) { }
            (List<Heard> heard, GenerationResult? result) = MixRig.Listen(pieces, first);
            Assert.Equal(expected, heard);
            Assert.Equal(round == 0 ? 0 : cached, result!.CachedTokens);
            Assert.Equal(FinishReason.ContextFull, result.FinishReason);
        }
        Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync(Prompt(MixRig.Context), asked));
    }
}
