using KvCuda.Engine;
using KvCuda.Tests.KvStore;

namespace KvCuda.Tests.Engine;

/// <summary>The whole engine over thousands of requests; alone in the process, because it watches the whole heap.</summary>
[Collection(nameof(KvSoakTests))]
public sealed class EngineSoakTests
{
    [Fact]
    public void Memory_stays_flat_over_thousands_of_requests_and_sessions()
    {
        using var rig = new MixRig();
        var clock = new HandClock();
        using KvEngine engine = rig.Engine(new()
        {
            Device = "cpu", Threads = 1, KvType = "f32", MaxSequences = 4, MaxStepTokens = 32, KvBudgetBytes = 256 << 10, TimeProvider = clock,
        }, pageTokens: 8);
        long Converse(int first, int count)
        {
            for (int i = first; i < first + count; i++)
            {
                clock.Milliseconds += 10;
                int[] prompt = [.. Enumerable.Range(0, 3 + i % 40).Select(t => t < 16 ? t % 7 + 3 : (t * i) % 36 + 3)];
                KvSession session = engine.OpenSession(new() { Salt = $"{i % 5}", Cache = i % 2 == 0 ? CacheScope.Session : CacheScope.Shared, IdleTimeToLive = TimeSpan.FromSeconds(1) });
                IAsyncEnumerator<GeneratedPiece> pieces = session.GenerateAsync(prompt, new() { MaxTokens = 3, Logprobs = 0 }).GetAsyncEnumerator();
                Task<bool> next = pieces.MoveNextAsync().AsTask();
                while (engine.Turn()) { }
                MixRig.Listen(pieces, next);
                Task ending = session.DisposeAsync().AsTask();
                while (!ending.IsCompleted)
                {
                    engine.TakeErrands();
                }
            }
            return GC.GetTotalMemory(forceFullCollection: true);
        }

        long early = Converse(0, 500), late = Converse(500, 3000);
        Assert.True(late - early < 128 << 10, $"{early} bytes after 500 requests, {late} after 3,500");
        Assert.Equal(0, engine.Model.Store.Usage.ActiveBytes);
    }
}
