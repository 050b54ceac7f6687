// Speculation changes nothing but the number of steps.
using KvCuda.Engine;
using KvCuda.KvStore;

namespace KvCuda.Tests.Engine;

public sealed class SpeculationTests : IDisposable
{
    readonly MixRig rig = new();

    public void Dispose() => rig.Dispose();

    static KvEngineOptions Options => new()
    {
        Device = "cpu", Threads = 1, KvType = "f32", MaxSequences = 5, MaxStepTokens = 24, Numerics = "consistent", MaxDraftTokens = 12,
    };

    static int[] Prompt(Random random) => random.Next(2) == 0
        ? [.. Enumerable.Range(0, random.Next(4, 24)).Select(i => 3 + i % random.Next(2, 6))]
        : [.. Enumerable.Range(0, random.Next(1, 24)).Select(_ => random.Next(3, MixRig.Vocabulary))];

    [Theory]
    [InlineData("standard", 0)]
    [InlineData("0_1s_2s_3s", 1)]
    [InlineData("0_0_2_2", 2)]
    [InlineData("0s_0s_2s_2s", 3)]
    public void Random_mixes_say_what_each_request_says_alone_without_speculation(string map, int first)
    {
        long accepted = 0, preempted = 0;
        for (int seed = first; seed < 60; seed += 4)
        {
            var random = new Random(seed);
            // Pages for about two of five requests, so that some are preempted; sliding windows alone take few.
            int pages = map.Contains("s_", StringComparison.Ordinal) ? 5 : 9;
            long page = new KvLayout(LayerSharing.Parse(map, 4, 5), 1, 8, KvCuda.Tensors.DType.F32, 16).Classes.Sum(c => c.PageBytes);
            using KvEngine engine = rig.Engine(Options with { Sharing = map, KvBudgetBytes = random.Next(2) == 0 ? pages * page : 1 << 20 }, 16);
            List<(int[] Prompt, GenerateOptions Asked, IAsyncEnumerator<GeneratedPiece> Pieces, Task<bool> Next, CancellationTokenSource? Ends)> calls = [];
            for (int i = 0; i < 7; i++)
            {
                int[] prompt = Prompt(random);
                GenerateOptions asked = new()
                {
                    MaxTokens = random.Next(1, 40), IgnoreEos = random.Next(2) == 0, Logprobs = 0, Seed = (ulong)random.Next(5),
                    Temperature = random.Next(3) switch { 0 => 0, 1 => 0.2f, _ => 0.8f }, RepetitionPenalty = random.Next(3) == 0 ? 1.3f : 1,
                };
                CancellationTokenSource? ends = random.Next(6) == 0 ? new() : null;
                IAsyncEnumerator<GeneratedPiece> pieces = engine.GenerateAsync(prompt, asked with { Speculate = Speculation.NGram, DraftTokens = random.Next(1, 9) },
                    ends?.Token ?? default).GetAsyncEnumerator();
                calls.Add((prompt, asked, pieces, pieces.MoveNextAsync().AsTask(), ends));
                for (int turns = random.Next(4); turns > 0; turns--)
                {
                    engine.Turn();
                }
                engine.Model.Store.Verify();
            }
            calls.ForEach(call => call.Ends?.Cancel());
            while (engine.Turn())
            {
                engine.Model.Store.Verify();
            }
            foreach ((int[] prompt, GenerateOptions asked, IAsyncEnumerator<GeneratedPiece> pieces, Task<bool> next, CancellationTokenSource? ends) in calls)
            {
                if (ends is not null)
                {
                    continue;
                }
                (List<Heard> heard, GenerationResult? result) = MixRig.Listen(pieces, next);
                (Heard[] expected, FinishReason reason) = rig.Alone(map, "f32", prompt, asked);
                Assert.Equal(expected, heard); // tokens and the bits of their log-probabilities
                Assert.Equal(reason, result!.FinishReason);
                accepted += result.AcceptedDraftTokens;
                Assert.InRange(result.AcceptedDraftTokens, 0, result.DraftTokens);
            }
            preempted += engine.Scheduler.Preemptions;
            Assert.Equal(0, engine.Model.Store.Usage.ActiveBytes);
        }
        Assert.True(accepted > 25, $"only {accepted} drafts were right: this would prove nothing");
        Assert.True(preempted > 0, "nobody was preempted: this would prove nothing");
    }

    [Fact]
    public void A_text_that_repeats_takes_fewer_steps_and_leaves_the_same_pages()
    {
        int[] prompt = [.. Enumerable.Range(0, 24).Select(i => 3 + i % 3)];
        GenerateOptions asked = new() { MaxTokens = 36, IgnoreEos = true, Logprobs = 0 };
        (int plain, int[] tokens, int cached) = Run(asked);
        (int steps, int[] same, int sameCached) = Run(asked with { Speculate = Speculation.NGram });
        Assert.Equal(tokens, same);
        Assert.Equal(cached, sameCached);
        Assert.True(steps < plain, $"{steps} steps with drafts, {plain} without");

        (int Steps, int[] Tokens, int Cached) Run(GenerateOptions options)
        {
            using KvEngine engine = rig.Engine(Options with { Sharing = "standard" }, 16);
            IAsyncEnumerator<GeneratedPiece> pieces = engine.GenerateAsync(prompt, options).GetAsyncEnumerator();
            Task<bool> next = pieces.MoveNextAsync().AsTask();
            int count = 0;
            while (engine.Turn())
            {
                count++;
            }
            int[] generated = [.. MixRig.Listen(pieces, next).Result!.Tokens];
            return (count, generated, engine.Model.Store.Peek([.. prompt, .. generated, 3], engine.ScopeOf(new(), default)));
        }
    }

    [Fact]
    public void Drafts_stop_where_they_are_never_right()
    {
        Drafter drafter = new(longest: 8);
        List<int> tokens = [1, 2, 1, 2];
        int drafted = 0;
        for (int i = 0; i < 1000; i++)
        {
            int count = drafter.Guess(tokens, 8);
            drafted += count;
            tokens.Add(count > 0 ? 3 - drafter.Drafts[0] : 1 + i % 2); // anything but the guess
            drafter.Learn(0);
        }
        Assert.InRange(drafted, 1, 40);
        Assert.Equal((drafted, 0), (drafter.Drafted, drafter.Accepted));
    }

    [Fact]
    public void Where_layers_look_upward_speculation_is_refused_with_the_reason()
    {
        using KvEngine engine = rig.Engine(Options with { Sharing = "0_3_2_3" }, 16);
        InvalidRequestException refused = Assert.Throws<InvalidRequestException>(
            () => engine.GenerateAsync([5], new() { Speculate = Speculation.NGram }));
        Assert.Contains("look upward", refused.Message, StringComparison.Ordinal);
    }
}
