using KvCuda.KvStore;
using KvCuda.Tensors;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

/// <summary>Alone in the process while they run, because they watch the whole heap.</summary>
[CollectionDefinition(nameof(KvSoakTests), DisableParallelization = true)]
public sealed class KvSoak;

[Collection(nameof(KvSoakTests))]
public sealed class KvSoakTests
{
    static readonly KvScope Scope = new("");

    static KvLayout Layout(string map, int window) =>
        new(LayerSharing.Parse(map, map.Split('_').Length, window), kvHeads: 1, headDim: 8, DType.F16, pageTokens: 16);

    [Theory]
    [InlineData("0_1_2", 0)]
    [InlineData("0_1s_2s", 40)]
    public void A_decode_step_allocates_nothing(string map, int window)
    {
        var store = new Store(Layout(map, window), 64 << 20);
        KvSequence[] sequences = [.. Enumerable.Range(0, 32).Select(_ => store.Open())];
        int[] prompt = new int[600];
        for (int i = 0; i < sequences.Length; i++)
        {
            prompt.AsSpan().Fill(i);
            store.Match(sequences[i], prompt, Scope);
            Assert.True(store.TryReserve(sequences[i], 600));
            store.Advance(sequences[i], prompt);
        }
        long Steps(int count)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            ReadOnlySpan<int> token = [7];
            for (int step = 0; step < count; step++)
            {
                foreach (KvSequence s in sequences)
                {
                    if (!store.TryReserve(s, 1))
                    {
                        return -1;
                    }
                }
                store.TakeCopies();
                foreach (KvSequence s in sequences)
                {
                    store.Advance(s, token);
                }
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        // Tables, token lists and the tree double now and then; between two doublings nothing is allocated, whole pages
        // entering the tree included.
        Steps(500);
        Assert.Equal(0, Enumerable.Range(0, 8).Min(_ => Steps(20)));
    }

    [Theory]
    [InlineData("0_1_2", 0)]
    [InlineData("0_1s_2s", 20)]
    [InlineData("0s_1s", 20)]
    public void Memory_stays_flat_over_many_conversations(string map, int window)
    {
        KvLayout layout = Layout(map, window);
        var store = new Store(layout, 300 * layout.Classes[0].PageBytes, 4 * layout.Classes.Max(c => c.PageBytes));
        var random = new Random(1);
        int[] prompt = new int[200];
        long Converse(int conversations)
        {
            for (int i = 0; i < conversations; i++)
            {
                store.Now += random.Next(1000);
                int length = random.Next(20, prompt.Length);
                int shared = random.Next(4) * 32;
                for (int t = 0; t < length; t++)
                {
                    prompt[t] = t < shared ? shared : random.Next(1000);
                }
                KvSequence s = store.Open(session: i % 3);
                int cached = store.Match(s, prompt.AsSpan(0, length), Scope);
                store.Retain(s, 0, shared, new KvRetention(80, TimeToLive: 100_000));
                for (int t = cached; t < length; t += 24)
                {
                    int chunk = Math.Min(24, length - t);
                    Assert.True(store.TryReserve(s, chunk));
                    store.TakeCopies();
                    store.Advance(s, prompt.AsSpan(t, chunk));
                }
                store.Close(s);
            }
            return GC.GetTotalMemory(forceFullCollection: true);
        }

        long early = Converse(2000), late = Converse(20_000);
        Assert.True(late - early < 64 << 10, $"{early} bytes after 2,000 conversations, {late} after 22,000");
        store.Verify();
        Assert.Equal(0, store.Usage.ActiveBytes);
        Assert.True(store.Counters.Hits.Sum() > 0 && store.Counters.Evicted[(int)KvEviction.Capacity] > 0);
    }
}
