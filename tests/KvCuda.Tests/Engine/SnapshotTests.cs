using KvCuda.Engine;
using KvCuda.KvStore;

namespace KvCuda.Tests.Engine;

/// <summary>Conversations and prompts that outlive the process, through whole models.</summary>
public sealed class SnapshotTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("kvcuda-snapshots-").FullName;

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    static readonly KvEngineOptions small = new() { Device = "cpu", Threads = 1, PageTokens = 16, KvType = "bf16", MaxStepTokens = 32 };

    public void Dispose() => Directory.Delete(folder, recursive: true);

    static Task<KvEngine> Golden(string name, KvEngineOptions? options = null) =>
        KvEngine.LoadAsync(Repository.Golden(name), options ?? small, cancellation: Cancellation);

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
    [InlineData("llama-standard", 32)]
    [InlineData("sandwich-top", 64)]
    [InlineData("wide64-mix-window48", 16)]
    public async Task A_restored_conversation_goes_on_as_if_never_interrupted_whatever_the_page_size(string name, int pageTokens)
    {
        GenerateOptions options = new() { MaxTokens = 20, IgnoreEos = true };
        string path = Path.Combine(folder, "talk.kv");
        int[] prompt = [.. Enumerable.Range(0, 70).Select(i => (i * 31) % 90 + 3)];
        IReadOnlyList<int> expected;
        await using (KvEngine engine = await Golden(name))
        {
            await using KvSession session = engine.OpenSession();
            await Run(session.GenerateAsync(prompt, options));
            await session.SaveAsync(path, Cancellation);
            expected = (await Run(session.GenerateAsync([7, 8, 9], options))).Tokens;
        }
        await using (KvEngine engine = await Golden(name, small with { PageTokens = pageTokens }))
        {
            await using KvSession session = await engine.RestoreSessionAsync(path);
            Assert.Equal(90, session.Tokens.Count);
            GenerationResult result = await Run(session.GenerateAsync([7, 8, 9], options));
            Assert.Equal(expected, result.Tokens);
            Assert.True(result.CachedTokens > 0);
        }
    }

    [Fact]
    public async Task A_snapshot_of_another_model_or_another_type_is_refused_and_changes_nothing()
    {
        string path = Path.Combine(folder, "prefix.kv");
        int[] prompt = [.. Enumerable.Range(0, 50).Select(i => i + 5)];
        await using (KvEngine engine = await Golden("llama-standard"))
        {
            await engine.SaveAsync(prompt, path, cancellation: Cancellation);
            Assert.Equal(48, await engine.RestoreAsync(path, "another tenant"));
        }
        await using KvEngine other = await Golden("llama-bf16");
        await Assert.ThrowsAsync<KvSnapshotException>(() => other.RestoreAsync(path));
        await using KvEngine wider = await Golden("llama-standard", small with { KvType = "f32" });
        await Assert.ThrowsAsync<KvSnapshotException>(() => wider.RestoreAsync(path));
        byte[] bytes = await File.ReadAllBytesAsync(path, Cancellation);
        bytes[bytes.Length / 2] ^= 1;
        await File.WriteAllBytesAsync(path, bytes, Cancellation);
        await using KvEngine same = await Golden("llama-standard");
        await Assert.ThrowsAsync<KvSnapshotException>(() => same.RestoreAsync(path));
        Assert.Equal(0, (await same.GetKvStatusAsync()).CachedBytes);
        Assert.Equal(0, (await Run(same.GenerateAsync(prompt, new() { MaxTokens = 2 }))).CachedTokens);
        await Assert.ThrowsAsync<InvalidRequestException>(() => same.RestoreAsync(Path.Combine(folder, "nothing.kv")));
        await Assert.ThrowsAsync<InvalidRequestException>(() => same.SaveAsync(prompt, Path.Combine(folder, "no", "such", "folder.kv")));
    }
}
