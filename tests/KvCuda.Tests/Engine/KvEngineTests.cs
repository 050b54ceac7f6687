using System.Text;
using KvCuda.Engine;

namespace KvCuda.Tests.Engine;

/// <summary>The engine as a service would use it, on the bundled model and the golden ones.</summary>
public class KvEngineTests
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    static Task<KvEngine> Demo(KvEngineOptions? options = null) =>
        KvEngine.LoadAsync(Repository.Demo, options ?? new() { Device = "cpu", Threads = 1 }, cancellation: Cancellation);

    static Task<KvEngine> Golden(string name, KvEngineOptions? options = null) =>
        KvEngine.LoadAsync(Repository.Golden(name), options ?? new() { Device = "cpu", Threads = 1 }, cancellation: Cancellation);

    static async Task<(string Text, GenerationResult Result)> Collect(IAsyncEnumerable<GeneratedPiece> pieces)
    {
        StringBuilder text = new();
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in pieces.WithCancellation(Cancellation))
        {
            Assert.Null(result);
            text.Append(piece.Text);
            result = piece.Result;
        }
        Assert.NotNull(result);
        return (text.ToString(), result);
    }

    [Fact]
    public async Task Three_lines_give_streamed_text_with_figures()
    {
        await using KvEngine engine = await Demo();
        (string text, GenerationResult result) = await Collect(engine.GenerateAsync("Call me", new() { MaxTokens = 24 }));
        Assert.Equal(result.Text, text);
        Assert.Contains(' ', text);
        Assert.Equal(24, result.GeneratedTokens);
        Assert.Equal(FinishReason.MaxTokens, result.FinishReason);
        Assert.Equal(engine.Tokenizer!.EncodeToIds("Call me").Count, result.PromptTokens);
        Assert.True(result.TimeToFirstToken >= result.QueueTime && result.Duration >= result.TimeToFirstToken);
        Assert.True(result.KvBytes >= result.KvBytesPerToken * 24);
    }

    [Fact]
    public async Task Streamed_text_is_the_decoded_tokens_and_never_half_a_character()
    {
        await using KvEngine engine = await Demo();
        GenerateOptions options = new() { MaxTokens = 60, Temperature = 3, Seed = 5, IgnoreEos = true };
        StringBuilder text = new();
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in engine.GenerateAsync("In the beginning", options, Cancellation))
        {
            Assert.False(piece.Text.Length > 0 && char.IsHighSurrogate(piece.Text[^1]));
            text.Append(piece.Text);
            result = piece.Result;
        }
        Assert.Equal(engine.Tokenizer!.Decode(result!.Tokens), text.ToString());
    }

    [Fact]
    public async Task The_same_seed_gives_the_same_text_whatever_else_runs()
    {
        await using KvEngine engine = await Demo();
        GenerateOptions options = new() { MaxTokens = 20, Temperature = 0.9f, TopP = 0.95f, TopK = 50, Seed = 42 };
        GenerationResult alone = await engine.CompleteAsync("And he said", options, Cancellation);
        Task<GenerationResult>[] crowd =
        [
            .. Enumerable.Range(0, 6).Select(i => engine.CompleteAsync("The whale " + i,
                new() { MaxTokens = 15 + i, Temperature = 1, Seed = (ulong)i }, Cancellation)),
            engine.CompleteAsync("And he said", options, Cancellation),
        ];
        GenerationResult[] results = await Task.WhenAll(crowd);
        Assert.Equal(alone.Tokens, results[^1].Tokens);
        GenerationResult other = await engine.CompleteAsync("And he said", options with { Seed = 43 }, Cancellation);
        Assert.NotEqual(alone.Tokens, other.Tokens);
    }

    [Fact]
    public async Task Native_is_the_models_own_sharing_map()
    {
        await using KvEngine engine = await Golden("sandwich-top", new() { Device = "cpu", Threads = 1, Sharing = "native" });
        Assert.Equal("0_6_6_6_6_6_6_7", engine.Sharing.ToString());
    }

    [Fact]
    public async Task A_drawn_seed_is_reported_and_repeats_the_text()
    {
        await using KvEngine engine = await Demo();
        GenerateOptions options = new() { MaxTokens = 12, Temperature = 1 };
        GenerationResult first = await engine.CompleteAsync("My lord", options, Cancellation);
        GenerationResult again = await engine.CompleteAsync("My lord", options with { Seed = first.Seed }, Cancellation);
        Assert.Equal(first.Tokens, again.Tokens);
    }

    [Fact]
    public async Task A_stop_text_that_spans_tokens_ends_the_text_before_it()
    {
        await using KvEngine engine = await Demo();
        GenerationResult whole = await engine.CompleteAsync("Call me", new() { MaxTokens = 30 }, Cancellation);
        string stop = whole.Text.Substring(whole.Text.Length / 2, 6);
        GenerationResult stopped = await engine.CompleteAsync("Call me", new() { MaxTokens = 30, Stop = [stop] }, Cancellation);
        Assert.Equal(FinishReason.StopText, stopped.FinishReason);
        Assert.Equal(whole.Text[..whole.Text.IndexOf(stop, StringComparison.Ordinal)], stopped.Text);
    }

    [Fact]
    public async Task Log_probabilities_are_of_the_raw_distribution_and_sum_below_one()
    {
        await using KvEngine engine = await Demo();
        await foreach (GeneratedPiece piece in engine.GenerateAsync("Thou shalt", new() { MaxTokens = 5, Logprobs = 3 }, Cancellation))
        {
            TokenLogprob logprob = Assert.IsType<TokenLogprob>(piece.Logprob);
            Assert.Equal(3, logprob.Top.Count);
            Assert.Equal(piece.Token, logprob.Top[0].Token);
            Assert.Equal(logprob.Logprob, logprob.Top[0].Logprob);
            Assert.True(logprob.Top.Sum(top => Math.Exp(top.Logprob)) <= 1.0001);
            Assert.True(logprob.Top[0].Logprob >= logprob.Top[1].Logprob && logprob.Top[1].Logprob >= logprob.Top[2].Logprob);
        }
    }

    [Fact]
    public async Task A_repetition_penalty_makes_greedy_text_repeat_less()
    {
        await using KvEngine engine = await Demo();
        GenerationResult plain = await engine.CompleteAsync("And the LORD", new() { MaxTokens = 80, IgnoreEos = true }, Cancellation);
        GenerationResult varied = await engine.CompleteAsync("And the LORD",
            new() { MaxTokens = 80, IgnoreEos = true, RepetitionPenalty = 1.3f }, Cancellation);
        Assert.True(varied.Tokens.Distinct().Count() > plain.Tokens.Distinct().Count());
    }

    [Fact]
    public async Task Breaking_off_gives_the_pages_back()
    {
        await using KvEngine engine = await Demo();
        await foreach (GeneratedPiece _ in engine.GenerateAsync("Call me", new() { MaxTokens = 200 }, Cancellation))
        {
            break;
        }
        await engine.CompleteAsync("A step later", new() { MaxTokens = 2 }, Cancellation);
        Assert.Equal(0, engine.Model.Store.Usage.ActivePages);
    }

    [Fact]
    public async Task Cancelling_throws_and_leaves_the_engine_working()
    {
        await using KvEngine engine = await Demo();
        using CancellationTokenSource source = new();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (GeneratedPiece _ in engine.GenerateAsync("Call me", new() { MaxTokens = 200, IgnoreEos = true }, source.Token))
            {
                await source.CancelAsync();
            }
        });
        Assert.Equal(3, (await engine.CompleteAsync("Call me", new() { MaxTokens = 3 }, Cancellation)).GeneratedTokens);
    }

    [Theory]
    [InlineData("llama-standard")]
    [InlineData("sandwich-top")]
    [InlineData("wide64-mix-window48")]
    public async Task Requests_that_do_not_fit_together_are_preempted_and_still_give_the_tokens_of_a_run_alone(string name)
    {
        KvEngineOptions roomy = new() { Device = "cpu", Threads = 1, PageTokens = 16, KvType = "f32", MaxStepTokens = 32 };
        int[][] prompts = [.. Enumerable.Range(0, 8).Select(i => Enumerable.Range(0, 10 + 5 * i).Select(t => (t * 7 + i) % 90 + 3).ToArray())];
        GenerateOptions options = new() { MaxTokens = 40, IgnoreEos = true };
        List<IReadOnlyList<int>> alone = [];
        long needed;
        await using (KvEngine engine = await Golden(name, roomy))
        {
            foreach (int[] prompt in prompts)
            {
                alone.Add((await Collect(engine.GenerateAsync(prompt, options))).Result.Tokens);
            }
            needed = engine.Model.Store.BytesFor(85);
        }
        // Room for about two of the eight at their longest.
        await using (KvEngine engine = await Golden(name, roomy with { KvBudgetBytes = needed * 5 / 2 }))
        {
            (string, GenerationResult Result)[] together =
                await Task.WhenAll(prompts.Select(prompt => Collect(engine.GenerateAsync(prompt, options))));
            for (int i = 0; i < prompts.Length; i++)
            {
                Assert.Equal(alone[i], together[i].Result.Tokens);
            }
            Assert.Equal(0, engine.Model.Store.Usage.ActivePages);
        }
    }

    [Fact]
    public async Task A_request_that_can_never_fit_is_one_typed_error_with_need_and_budget()
    {
        KvEngineOptions tight = new() { Device = "cpu", Threads = 1, PageTokens = 16, KvBudgetBytes = 64 * 1024 };
        await using KvEngine engine = await Golden("llama-standard", tight);
        KvBudgetException error = Assert.Throws<KvBudgetException>(() => engine.GenerateAsync([5, 6, 7], new() { MaxTokens = 250 }));
        Assert.True(error.NeededBytes > error.BudgetBytes);
        Assert.Contains($"{error.NeededBytes:N0}", error.Message, StringComparison.Ordinal);
        (_, GenerationResult result) = await Collect(engine.GenerateAsync([5, 6, 7], new() { MaxTokens = 4, IgnoreEos = true }));
        Assert.Equal(4, result.GeneratedTokens);
    }

    [Fact]
    public async Task A_full_context_ends_the_text_and_says_so()
    {
        await using KvEngine engine = await Golden("llama-standard", new() { Device = "cpu", Threads = 1, MaxContext = 20 });
        (_, GenerationResult result) = await Collect(engine.GenerateAsync([5, 6, 7], new() { MaxTokens = 100, IgnoreEos = true }));
        Assert.Equal(FinishReason.ContextFull, result.FinishReason);
        Assert.Equal(17, result.GeneratedTokens);
    }

    [Fact]
    public async Task Bad_requests_are_refused_in_words_before_anything_runs()
    {
        await using KvEngine engine = await Golden("llama-standard");
        Assert.Contains("tokenizer.json", Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync("text")).Message, StringComparison.Ordinal);
        Assert.Contains("no tokens", Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync([])).Message, StringComparison.Ordinal);
        Assert.Contains("96", Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync([96])).Message, StringComparison.Ordinal);
        Assert.Contains("TopP", Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync([1], new() { TopP = 0 })).Message, StringComparison.Ordinal);
        Assert.Contains("slide", Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync([1], new() { Window = 8 })).Message, StringComparison.Ordinal);
        Assert.Contains("context", Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync(new int[256])).Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<InvalidRequestException>(() => Golden("sandwich-top",
            new() { Device = "cpu", Prefill = KvCuda.Model.PrefillMode.Parse("iterative:7+2") }));
    }

    [Fact]
    public async Task A_model_with_learned_positions_cannot_slide_and_says_why()
    {
        await using KvEngine engine = await Golden("gptneo-w5");
        var refusal = Assert.Throws<InvalidRequestException>(() => engine.GenerateAsync([1], new() { WhenFull = ContextFull.Slide }));
        Assert.Contains("learned", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Disposing_ends_what_runs_and_refuses_what_comes()
    {
        KvEngine engine = await Demo();
        IAsyncEnumerator<GeneratedPiece> running =
            engine.GenerateAsync("Call me", new() { MaxTokens = 400, IgnoreEos = true }, Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.True(await running.MoveNextAsync());
        await engine.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => { while (await running.MoveNextAsync()) { } });
        await Assert.ThrowsAsync<ObjectDisposedException>(() => engine.CompleteAsync("too late", cancellation: Cancellation));
        await engine.DisposeAsync();
    }

    [Fact]
    public async Task Loading_reports_progress_and_can_be_cancelled()
    {
        List<LoadProgress> reports = [];
        await using (KvEngine engine = await KvEngine.LoadAsync(Repository.Demo, new() { Device = "cpu" }, new Immediate(reports), Cancellation))
        {
            Assert.Contains(reports, report => report is { Stage: "weights", Share: 1 });
            Assert.Equal("ready", reports[^1].Stage);
        }
        using CancellationTokenSource source = new();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            KvEngine.LoadAsync(Repository.Demo, new() { Device = "cpu" }, new CancelAt(source), source.Token));
    }

    [Fact]
    public async Task A_tokenizer_of_ones_own_can_be_plugged_in()
    {
        KvEngineOptions options = new() { Device = "cpu", Threads = 1, Tokenizer = new Letters() };
        await using KvEngine engine = await Golden("llama-standard", options);
        (string text, GenerationResult result) = await Collect(engine.GenerateAsync("abc", new() { MaxTokens = 6, IgnoreEos = true }));
        Assert.Equal(3, result.PromptTokens);
        Assert.Equal(string.Concat(result.Tokens.Select(id => (char)(id + 32))), text);
    }

    /// <summary>One printable ASCII character per id.</summary>
    sealed class Letters : KvCuda.Text.Tokenizer
    {
        protected override KvCuda.Text.EncodeResults<KvCuda.Text.EncodedToken> EncodeToTokens(
            string? text, ReadOnlySpan<char> textSpan, KvCuda.Text.EncodeSettings settings)
        {
            List<KvCuda.Text.EncodedToken> tokens = [];
            for (int i = 0; i < textSpan.Length; i++)
            {
                tokens.Add(new(textSpan[i] - 32, textSpan[i].ToString(), new Range(i, i + 1)));
            }
            return new() { Tokens = tokens, CharsConsumed = textSpan.Length };
        }

        public override System.Buffers.OperationStatus Decode(
            IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten)
        {
            idsConsumed = charsWritten = 0;
            foreach (int id in ids)
            {
                if (charsWritten == destination.Length)
                {
                    return System.Buffers.OperationStatus.DestinationTooSmall;
                }
                destination[charsWritten++] = (char)(id + 32);
                idsConsumed++;
            }
            return System.Buffers.OperationStatus.Done;
        }
    }

    sealed class Immediate(List<LoadProgress> reports) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => reports.Add(value);
    }

    sealed class CancelAt(CancellationTokenSource source) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => source.Cancel();
    }
}
