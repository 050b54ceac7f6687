using KvCuda.KvStore;
using KvCuda.Tensors;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

/// <summary>A layer that owns nothing costs nothing, a window costs its window: for every sharing scheme, to the byte.</summary>
public sealed class KvCostTests
{
    const int Layers = 12, KvHeads = 2, HeadDim = 32, PageTokens = 16, Window = 40;
    const long OwnerBytes = 2L * KvHeads * HeadDim * 2; // K and V of one token of one owner, bf16

    public static TheoryData<string> Schemes()
    {
        var schemes = new TheoryData<string>("standard", "cla:2", "cla:3", "cla:5", $"yoco:{Window}", $"mixattention:{Window}",
            "lckv:1", "lckv:2", "mlkv:3", "0s_1s_2_3s_4_4_6_7s_7s_9_9_9", "0s_1s_2s_3s_4s_5s_6s_7s_8s_9s_10s_11s");
        foreach (string partitioning in (string[])["pizza", "sandwich", "lasagna"])
        {
            foreach (string position in (string[])["bottom", "middle-1/4", "middle", "middle-3/4", "top"])
            {
                foreach (int owners in (int[])[1, 3, 4, 11])
                {
                    schemes.Add($"{partitioning}-{position}:{owners}");
                    schemes.Add($"{partitioning}-{position}:{owners},keep-first");
                }
            }
        }
        return schemes;
    }

    [Theory]
    [MemberData(nameof(Schemes))]
    public void A_sequence_holds_what_the_formula_says(string scheme)
    {
        LayerSharing sharing = LayerSharing.Parse(scheme, Layers, Window);
        // Straight from the map: an owner is a target, and keeps the widest window of those that read it.
        int[] owners = [.. Enumerable.Range(0, Layers).Select(sharing.Target).Distinct()];
        int full = owners.Count(owner => Enumerable.Range(0, Layers).Any(i => sharing.Target(i) == owner && sharing.Window(i) == 0));
        int windowed = owners.Length - full;

        var layout = new KvLayout(sharing, KvHeads, HeadDim, DType.BF16, PageTokens);
        Assert.Equal(OwnerBytes * owners.Length, layout.BytesPerToken);
        Assert.Equal(layout.BytesPerToken, Enumerable.Range(0, Layers).Sum(layout.BytesPerTokenOf));
        var store = new Store(layout, 8 << 20);
        KvSequence s = store.Open();
        var random = new Random(1);
        while (s.Length < 200)
        {
            int n = s.Length;
            // The row at n sees every token of a full class, and the last W - 1 of a window class.
            long fullPages = Pages(n), windowPages = n == 0 ? 0 : Pages(n) - Math.Max(0, n - Window + 1) / PageTokens;
            long expected = (fullPages * full + windowPages * windowed) * PageTokens * OwnerBytes;
            Assert.Equal(expected, store.BytesHeld(s));
            Assert.Equal(expected, store.Usage.ActiveBytes);
            // Waste: of each class the rest of the last page, and of a window's first page what no row sees any more.
            long seen = (long)n * full + Math.Min(n, Window - 1L) * windowed;
            long waste = expected - seen * OwnerBytes;
            Assert.InRange(waste, 0, OwnerBytes * ((PageTokens - 1) * full + 2 * (PageTokens - 1) * windowed));
            if (windowed == 0)
            {
                Assert.Equal((Pages(n) * PageTokens - n) * layout.BytesPerToken, waste);
            }
            int chunk = random.Next(1, 20);
            Assert.True(store.TryReserve(s, chunk));
            store.Advance(s, new int[chunk]);
        }
    }

    static long Pages(int tokens) => (tokens + PageTokens - 1) / PageTokens;
}
