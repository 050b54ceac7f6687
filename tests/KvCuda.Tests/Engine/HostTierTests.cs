using System.Runtime.InteropServices;
using System.Text;
using KvCuda.Engine;
using KvCuda.Interop;
using KvCuda.Model;
using KvCuda.Tests.Backends.Cuda;

namespace KvCuda.Tests.Engine;

/// <summary>
/// Cold pages go to pinned host memory and come back: whole models in class consistent, on the host runner with streams that
/// run apart as far as events let them (or on a GPU), with budgets so small that pages go down and up all the time.
/// </summary>
public class HostTierTests
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // The flavour that only runs, where there is no GPU: whole models take a minute under the checks.
    static string Device => CudaBackendTests.Device == "cuda-host" ? "cuda-host:plain" : CudaBackendTests.Device;

    static KvEngineOptions Options => new()
    {
        Device = Device, Numerics = "consistent", PageTokens = 16, KvType = "f32", MaxStepTokens = 32, MaxSequences = 4, MaxContext = 128,
    };

    // The budget holds `sequences` of the longest requests, the tier several more.
    static async Task<KvEngine> Small(string model, double sequences, int deferred = 0)
    {
        long longest;
        await using (KvEngine probe = await KvEngine.LoadAsync(Repository.Golden(model), Options with { Device = "cpu" }, cancellation: Cancellation))
        {
            longest = probe.Model.Store.BytesFor(64);
        }
        KvEngine engine = await KvEngine.LoadAsync(Repository.Golden(model), Options with
        {
            KvBudgetBytes = (long)(longest * sequences), HostKvBudgetBytes = longest * 12,
        }, cancellation: Cancellation);
        if (deferred > 0 && Device.StartsWith("cuda-host", StringComparison.Ordinal))
        {
            await engine.Ask(() => { SetOption("deferred", deferred); return true; });
        }
        return engine;
    }

    static unsafe void SetOption(string name, long value)
    {
        nint set = NativeLibrary.GetExport(CudaLibraries.OfHostRunner(plain: Device.EndsWith("plain", StringComparison.Ordinal)).Driver.Handle, "kvcudaHostSetOption");
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
        {
            Assert.Equal(0, ((delegate* unmanaged<byte*, long, int>)set)(text, value));
        }
    }

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

    static readonly GenerateOptions few = new() { MaxTokens = 6, IgnoreEos = true };

    [Theory]
    [InlineData("llama-standard", 1)]
    [InlineData("lasagna-bottom", 2)]
    [InlineData("sandwich-top", 5)]
    [InlineData("yoco", 7)]
    [InlineData("wide64-mix-window48", 2)]
    [InlineData("gptneo-w5", 1)]
    public async Task Pages_that_went_to_the_host_and_came_back_give_the_tokens_of_a_cold_run(string model, int deferred)
    {
        // Four conversations with one beginning, twice around, through a device that holds one and a half of them.
        int[][] prompts = [.. Enumerable.Range(0, 4).Select(i => (int[])[.. Prompt(20, 7), .. Prompt(24 + 5 * (i % 3), i)])];
        List<IReadOnlyList<int>> cold = [];
        await using (KvEngine alone = await KvEngine.LoadAsync(Repository.Golden(model), Options, cancellation: Cancellation))
        {
            foreach (int[] prompt in prompts)
            {
                await alone.ClearCacheAsync();
                cold.Add((await Run(alone.GenerateAsync(prompt, few))).Tokens);
            }
        }
        await using KvEngine engine = await Small(model, 1.6, deferred);
        for (int round = 0; round < 2; round++)
        {
            for (int i = 0; i < prompts.Length; i++)
            {
                GenerationResult result = await Run(engine.GenerateAsync(prompts[i], few));
                Assert.Equal(cold[i], result.Tokens);
                Assert.True(round == 0 || result.CachedTokens >= prompts[i].Length / 16 * 16 - 16,
                    $"{result.CachedTokens} of {prompts[i].Length} tokens were cached");
            }
        }
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.True(status.MovedDownPages > 0 && status.MovedUpPages > 0 && status.FoundInHostTierTokens > 0, status.ToString());
        Assert.Equal(status.ArenaBytes, status.FreeBytes + status.ActiveBytes + status.CachedBytes + status.PinnedBytes);
        Assert.InRange(status.HostCachedBytes, 1, status.HostArenaBytes);
    }

    [Theory]
    [InlineData("sandwich-middle", 1)]
    [InlineData("wide64-mix-window48", 3)]
    public async Task Preempted_requests_come_back_from_the_host_and_say_what_they_would_alone(string model, int deferred)
    {
        GenerateOptions many = new() { MaxTokens = 30, IgnoreEos = true };
        int[][] prompts = [.. Enumerable.Range(0, 3).Select(i => Prompt(18 + 3 * i, i))];
        await using KvEngine engine = await Small(model, 1.4, deferred);
        GenerationResult[] together = await Task.WhenAll(prompts.Select(prompt => Run(engine.GenerateAsync(prompt, many))));
        KvStatus status = await engine.GetKvStatusAsync();
        Assert.True(status.Preemptions > 0 && status.MovedUpPages > 0, status.ToString() + status.Preemptions);
        for (int i = 0; i < prompts.Length; i++)
        {
            await engine.ClearCacheAsync();
            Assert.Equal((await Run(engine.GenerateAsync(prompts[i], many))).Tokens, together[i].Tokens);
        }
    }

    [Fact]
    public async Task A_session_whose_pages_went_to_the_host_is_saved_and_restored_whole()
    {
        string path = Path.Combine(Path.GetTempPath(), $"kvcuda-tier-{Guid.NewGuid():N}");
        try
        {
            await using KvEngine engine = await Small("lasagna-bottom", 1.6, deferred: 1);
            await using KvSession session = engine.OpenSession();
            GenerationResult first = await Run(session.GenerateAsync(Prompt(50), few));
            for (int i = 0; i < 4; i++)
            {
                await Run(engine.GenerateAsync(Prompt(60, 10 + i), few));
            }
            KvStatus before = await engine.GetKvStatusAsync();
            await session.SaveAsync(path, Cancellation);
            KvStatus after = await engine.GetKvStatusAsync();
            Assert.True(after.FoundInHostTierTokens >= before.FoundInHostTierTokens + 48, after.ToString());
            await engine.ClearCacheAsync();
            await using KvSession restored = await engine.RestoreSessionAsync(path);
            GenerationResult next = await Run(restored.GenerateAsync(Prompt(5, 2), few));
            Assert.Equal(48, next.CachedTokens);
            await engine.ClearCacheAsync();
            int[] whole = [.. Prompt(50), .. first.Tokens, .. Prompt(5, 2)];
            Assert.Equal((await Run(engine.GenerateAsync(whole, few))).Tokens, next.Tokens);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task A_failed_copy_ends_every_request_with_the_same_error_and_the_engine_takes_no_more()
    {
        Assert.SkipWhen(!Device.StartsWith("cuda-host", StringComparison.Ordinal), "only the host runner fails a copy when asked to");
        await using KvEngine engine = await Small("llama-standard", 1.6);
        await Run(engine.GenerateAsync(Prompt(60), few));
        long page = engine.Model.Layout.Classes[0].PageBytes;
        await engine.Ask(() => { SetOption("failCopyBytes", page); return true; });
        DeviceException first = await Assert.ThrowsAsync<DeviceException>(async () =>
        {
            for (int i = 0; i < 4; i++)
            {
                await Run(engine.GenerateAsync(Prompt(60, 10 + i), few));
            }
        });
        Assert.Contains("cuMemcpy", first.Message, StringComparison.Ordinal);
        Exception later = await Assert.ThrowsAsync<DeviceException>(() => Run(engine.GenerateAsync(Prompt(5), few)));
        Assert.Equal(first.Message, later.Message);
    }

    [Fact]
    public async Task A_host_tier_is_refused_on_the_cpu_where_keys_and_values_are_in_host_memory_anyway()
    {
        InvalidRequestException error = await Assert.ThrowsAsync<InvalidRequestException>(() => KvEngine.LoadAsync(
            Repository.Golden("llama-standard"), new() { Device = "cpu", Threads = 1, HostKvBudgetBytes = 64 << 20 }, cancellation: Cancellation));
        Assert.Contains("--kv-budget", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<InvalidRequestException>(() => KvEngine.LoadAsync(
            Repository.Golden("llama-standard"), new() { Device = "cpu", HostKvBudgetBytes = -1 }, cancellation: Cancellation));
    }

    [Fact]
    public void Host_memory_that_cannot_be_pinned_is_one_clear_error_at_load()
    {
        Assert.SkipWhen(!Device.StartsWith("cuda-host", StringComparison.Ordinal), "only the host runner refuses to pin when asked to");
        SetOption("pinnedBytes", 200L << 20);
        try
        {
            DeviceException error = Assert.Throws<DeviceException>(() => LoadedModel.Load(Repository.Golden("llama-standard"),
                Options with { HostKvBudgetBytes = 1L << 30 }));
            Assert.Matches("host tier of .* cannot be pinned: after .* bytes the driver refused.*--host-kv-budget", error.Message);
        }
        finally
        {
            SetOption("pinnedBytes", 0);
        }
        using LoadedModel again = LoadedModel.Load(Repository.Golden("llama-standard"), Options with { HostKvBudgetBytes = 4 << 20 });
        Assert.True(again.Store.HostArenaBytes > 0);
    }

    [Fact]
    public async Task A_host_tier_too_small_for_a_slab_of_each_kind_says_what_it_needs()
    {
        _ = Device;
        KvBudgetException error = await Assert.ThrowsAsync<KvBudgetException>(() => KvEngine.LoadAsync(
            Repository.Golden("wide64-mix-window48"), Options with { HostKvBudgetBytes = 1000 }, cancellation: Cancellation));
        Assert.Contains("host tier of 1000 bytes", error.Message, StringComparison.Ordinal);
    }
}
