using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Tests.Engine;
using KvCuda.Tests.Reference;
using KvCuda.Weights;

namespace KvCuda.Tests.Models;

/// <summary>Sequences that slide past the context (StreamingLLM), through whole tiny models of context 64.</summary>
public sealed class StreamTests : IDisposable
{
    readonly MixRig rig = new();

    public void Dispose() => rig.Dispose();

    static int[] Prompt(int tokens, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, tokens).Select(_ => random.Next(3, MixRig.Vocabulary))];
    }

    LoadedModel Load(string map, int pageTokens = 16, int maxRows = 32, string device = "cpu", string kvType = "f32", int sequences = 4) =>
        LoadedModel.Load(rig.Folder, new()
        {
            Device = device, Threads = 2, Sharing = map, PageTokens = pageTokens, MaxStepTokens = maxRows, KvType = kvType,
            MaxSequences = sequences, Numerics = "consistent",
        });

    float[] Logits(string map, KvStreaming stream, int[] prompt, int pageTokens = 16, int maxRows = 32, string device = "cpu",
        string kvType = "f32", bool sequential = false)
    {
        using LoadedModel model = Load(map, pageTokens, maxRows, device, kvType);
        return new LogitsRun(model, sequential ? PrefillMode.Sequential : PrefillMode.Converged).Run([prompt], 1, stream)[0].Logits;
    }

    [Theory]
    [InlineData("0_1_2_3", 4, 20)]
    [InlineData("0_1_2_3", 0, 9)]
    [InlineData("0_0_2_2", 2, 40)]
    [InlineData("0_2_2_3", 3, 21)]     // layer 1 looks upward
    [InlineData("2_3_2_3", 4, 12)]     // two look upward over each other
    [InlineData("0s_1s_2_2", 4, 12)]   // windows of 5 stay
    [InlineData("0s_1s_2_2", 1, 3)]    // windows of 5 mask nothing of a cache of 4
    [InlineData("0s_1s_2_2", 4, 3)]    // windows of 5 are cut to 3
    [InlineData("0_0s_2_2s", 2, 30)]   // one owner serves readers with and without a window
    public void Logits_past_the_context_are_those_of_a_cache_with_positions_of_its_own(string map, int sinks, int window)
    {
        var stream = new KvStreaming(sinks, window);
        int[] prompt = Prompt(150);
        float[] found = Logits(map, stream, prompt);
        using ModelWeights weights = ModelWeights.Load(rig.Folder, ModelConfig.Load(rig.Folder), LoadedModel.SharingOf(ModelConfig.Load(rig.Folder), map).Owns);
        ModelConfig config = ModelConfig.Load(rig.Folder);
        double[] expected = new StreamReference(config, weights, LoadedModel.SharingOf(config, map), stream).Logits(prompt);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], found[i], 2e-4 * Math.Max(1, Math.Abs(expected[i])));
        }
    }

    [Theory]
    [InlineData("0_1_2_3")]
    [InlineData("0_2_2_3")]
    [InlineData("0s_1s_2_2")]
    public void Bits_do_not_depend_on_pages_or_on_how_a_prompt_is_cut(string map)
    {
        var stream = new KvStreaming(3, 18);
        int[] prompt = Prompt(170);
        float[] whole = Logits(map, stream, prompt, kvType: "bf16");
        Assert.All(whole, logit => Assert.True(float.IsFinite(logit)));
        Assert.Equal(whole, Logits(map, stream, prompt, pageTokens: 64, kvType: "bf16"));
        Assert.Equal(whole, Logits(map, stream, prompt, pageTokens: 128, maxRows: 64, kvType: "bf16"));
        Assert.Equal(whole, Logits(map, stream, prompt, maxRows: 7, kvType: "bf16"));
        Assert.Equal(whole, Logits(map, stream, prompt, kvType: "bf16", sequential: true));
    }

    [Fact]
    public void Sinks_of_more_than_a_chunk_and_positions_far_out_are_right()
    {
        // Context 64 leaves no room for 128 sinks: the store's tables are what grows, so they are asked directly.
        var layout = new KvLayout(LayerSharing.Parse("0", 1), 1, 8, DType.F32, 16);
        var store = new global::KvCuda.KvStore.KvStore(layout, 1 << 20) { ChunkTokens = 32 };
        KvSequence s = store.Open(streaming: new KvStreaming(130, 100));
        int[] row = new int[64], token = new int[1];
        while (s.Length < 5000)
        {
            Assert.True(store.TryReserve(s, 1));
            s.WriteTable(0, row);
            int place = s.Length - s.Slide.Shift;
            if (!s.Slide.IsNone)
            {
                // The window's first token and the row's own have pages, in chunks behind those of the sinks.
                Assert.True(place - 99 >= 256 && row[(place - 99) / 16] >= 0 && row[place / 16] >= 0 && row[129 / 16] >= 0);
                Assert.Equal(0, s.Slide.Shift % AttentionMask.ChunkTokens);
            }
            store.Advance(s, token);
        }
        Assert.True(store.BytesHeld(s) <= store.BytesFor(5000, s.Streaming));
    }

    [Theory]
    [InlineData("0_1_2_3", "f32")]
    [InlineData("0_2_2_3", "bf16")]
    public void Ordinary_sequences_beside_one_that_slides_have_the_bits_they_have_alone(string map, string kvType)
    {
        using KvEngine engine = rig.Engine(new()
        {
            Device = "cpu", Threads = 1, Sharing = map, KvType = kvType, MaxSequences = 4, MaxStepTokens = 12, Numerics = "consistent",
        }, 16);
        GenerateOptions plain = new() { MaxTokens = 20, IgnoreEos = true, Logprobs = 0 };
        GenerateOptions sliding = plain with { MaxTokens = 200, WhenFull = ContextFull.Slide, Window = 20 };
        int[] one = Prompt(30, 2), two = Prompt(90, 3);
        (Heard[] expected, _) = rig.Alone(map, kvType, one, plain);
        List<Heard> alone = Play(engine, (two, sliding))[0];
        List<List<Heard>> together = Play(engine, (two, sliding), (one, plain), (one, plain with { Salt = "x" }));
        Assert.Equal(alone, together[0]);
        Assert.Equal(expected, together[1]);
        Assert.Equal(expected, together[2]);
        Assert.Equal(200, alone.Count);
    }

    [Fact]
    public void Preempted_and_computed_again_a_stream_says_the_same()
    {
        KvEngineOptions options = new()
        {
            Device = "cpu", Threads = 1, Sharing = "0_1_2_3", MaxSequences = 3, MaxStepTokens = 8, Numerics = "consistent", KvType = "f32",
        };
        GenerateOptions sliding = new() { MaxTokens = 150, IgnoreEos = true, Logprobs = 0, WhenFull = ContextFull.Slide, Window = 30 };
        int[] prompt = Prompt(10, 4), other = Prompt(10, 5);
        List<Heard> alone;
        long bytes;
        using (KvEngine roomy = rig.Engine(options, 16))
        {
            alone = Play(roomy, (prompt, sliding))[0];
            bytes = roomy.Model.Store.BytesFor(160, new KvStreaming(4, 30));
        }
        using KvEngine tight = rig.Engine(options with { KvBudgetBytes = bytes * 3 / 2 }, 16);
        List<List<Heard>> both = Play(tight, (other, sliding), (prompt, sliding));
        Assert.Equal(alone, both[1]);
        Assert.True(tight.Scheduler.Preemptions > 0);
    }

    [Fact]
    public void Thousands_of_tokens_take_constant_memory_and_stay_numbers()
    {
        using KvEngine engine = rig.Engine(new() { Device = "cpu", Threads = 1, MaxSequences = 1, MaxStepTokens = 16, KvType = "f32" }, 16);
        long most = engine.Model.Store.BytesFor(int.MaxValue / 4, new KvStreaming(4, 60)), seen = 0;
        engine.BeforeAccept = () => seen = Math.Max(seen, engine.Model.Store.Usage.ActiveBytes);
        List<Heard> heard = Play(engine, (Prompt(5), new() { MaxTokens = 3000, IgnoreEos = true, Logprobs = 0, WhenFull = ContextFull.Slide }))[0];
        Assert.Equal(3000, heard.Count);
        Assert.All(heard, h => Assert.True(float.IsFinite(h.Logprob)));
        Assert.InRange(seen, 1, most);
    }

    [Fact]
    public void What_a_stream_published_before_it_slid_serves_others_and_nothing_after_does()
    {
        using KvEngine engine = rig.Engine(new() { Device = "cpu", Threads = 1, MaxSequences = 1, MaxStepTokens = 16, KvType = "f32" }, 8);
        int[] prompt = Prompt(60);
        GenerateOptions plain = new() { MaxTokens = 1, IgnoreEos = true, Logprobs = 0 };
        List<Heard> cold = Play(engine, (prompt, plain with { Salt = "cold" }))[0];
        Play(engine, (prompt, plain with { WhenFull = ContextFull.Slide, Sinks = 4, Window = 20 }));
        Assert.Equal(24, engine.Model.Store.Peek(prompt, engine.ScopeOf(plain, default)));
        Assert.Equal(cold, Play(engine, (prompt, plain))[0]);
    }

    [Fact]
    public void A_plan_of_a_stream_counts_the_tokens_that_it_will_find()
    {
        using KvEngine engine = rig.Engine(new() { Device = "cpu", Threads = 1, MaxSequences = 1, MaxStepTokens = 16, KvType = "f32" }, 8);
        int[] prompt = Prompt(60);
        GenerateOptions plain = new() { MaxTokens = 1, IgnoreEos = true, Logprobs = 0 };
        GenerateOptions slide = plain with { WhenFull = ContextFull.Slide, Sinks = 4, Window = 20 };
        Play(engine, (prompt, plain));
        Assert.Equal(56, Cached(plain));
        Assert.Equal(24, Cached(slide));
        Request? request = null;
        engine.Arriving = arriving => request = arriving;
        Play(engine, (prompt, slide));
        Assert.Equal(24, request!.CachedTokens);

        int Cached(GenerateOptions asked)
        {
            Task<RequestPlan> plan = engine.PlanAsync(prompt, asked);
            engine.TakeErrands();
            return plan.GetAwaiter().GetResult().CachedTokens;
        }
    }

    [Theory]
    [InlineData(-1, 10, "-1 sinks")]
    [InlineData(4, 0, "window of 0")]
    [InlineData(4, 61, "window of 61")]
    [InlineData(64, null, "64 sinks")]
    public void Sinks_and_windows_that_cannot_be_are_refused(int sinks, int? window, string says)
    {
        using KvEngine engine = rig.Engine(new() { Device = "cpu", Threads = 1, MaxSequences = 1 }, 16);
        var error = Assert.Throws<InvalidRequestException>(() =>
            engine.GenerateAsync([5, 6], new() { WhenFull = ContextFull.Slide, Sinks = sinks, Window = window }));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Kernels_agree_with_the_processor_where_a_sequence_slides()
    {
        Assert.SkipWhen(KvCuda.Interop.CudaLibraries.HostRunnerPath() is null, "no host runner on this machine: it needs g++ on x86-64 Linux");
        var stream = new KvStreaming(3, 18);
        int[] prompt = Prompt(80);
        using LoadedModel cpu = Load("0_2_2_3", kvType: "bf16"), cuda = Load("0_2_2_3", device: "cuda-host:plain", kvType: "bf16");
        LogitsRun.Outcome expected = new LogitsRun(cpu, PrefillMode.Converged).Run([prompt, prompt[..20]], 6, stream)[0];
        LogitsRun.Outcome found = new LogitsRun(cuda, PrefillMode.Converged).Run([prompt, prompt[..20]], 6, stream)[0];
        for (int i = 0; i < found.Logits.Length; i++)
        {
            Assert.Equal(expected.Logits[i], found.Logits[i], 0.02 * Math.Max(1, Math.Abs(expected.Logits[i])));
        }
    }

    [Fact]
    public void The_default_budget_holds_a_request_that_slides_with_the_default_window()
    {
        using var large = new MixRig(context: 16384);
        using KvEngine engine = large.Engine(
            new() { Device = "cpu", Threads = 1, KvType = "f32", MaxSequences = 1, MaxStepTokens = 8192 }, 64);
        Assert.NotNull(engine.GenerateAsync([5, 6], new() { MaxTokens = 100_000, WhenFull = ContextFull.Slide }));
        // Also where slabs are few, large or of odd sizes.
        foreach (string map in (string[])["0", "0_1_2", "0_1s_2s", "0s"])
        {
            for (int context = 512; context <= 8192; context += 448)
            {
                foreach ((int page, int rows) in ((int, int)[])[(16, 1), (16, 256), (64, 256), (128, 256), (128, 1000)])
                {
                    var layout = new KvLayout(LayerSharing.Parse(map, map.Split('_').Length, 48), 8, 96, DType.F32, page);
                    var options = new LoadOptions { MaxSequences = 1, PageTokens = page, MaxStepTokens = rows };
                    var store = new global::KvCuda.KvStore.KvStore(layout, KvBudget.Default(layout, context, options, MemoryInfo.OfHost())) { ChunkTokens = rows };
                    Assert.True(store.FitsEmpty(1_000_000, new KvStreaming(4, context - 4)), $"{map}, context {context}, pages of {page}, {rows} rows");
                }
            }
        }
    }

    // Runs requests together to their ends.
    static List<List<Heard>> Play(KvEngine engine, params (int[] Prompt, GenerateOptions Options)[] requests)
    {
        List<(IAsyncEnumerator<GeneratedPiece> Pieces, Task<bool> First)> listeners = [];
        foreach ((int[] prompt, GenerateOptions options) in requests)
        {
            IAsyncEnumerator<GeneratedPiece> pieces = engine.GenerateAsync(prompt, options).GetAsyncEnumerator();
            listeners.Add((pieces, pieces.MoveNextAsync().AsTask()));
        }
        while (engine.Turn()) { }
        return [.. listeners.Select(l => MixRig.Listen(l.Pieces, l.First).Heard)];
    }
}
