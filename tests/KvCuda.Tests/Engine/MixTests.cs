using KvCuda.Tests.KvStore;

namespace KvCuda.Tests.Engine;

/// <summary>Whole models under random mixes of callers: see <see cref="Mix"/>.</summary>
public sealed class MixTests
{
    static readonly string[] Maps =
    [
        "0_1_2_3",      // standard
        "0_0_2_2",      // lasagna-bottom:2
        "0_2_2_3",      // sandwich-middle:3: layer 1 looks upward
        "2_3_2_3",      // two that look upward over each other
        "0s_1s_2_2",    // yoco:5
        "0s_1s_2s_3s",  // windows only
        "0_1s_3s_3s",   // a window class whose reader looks upward
    ];

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public void Every_request_of_a_random_mix_says_what_it_says_alone(int map)
    {
        int mixes = Shrinker.IsThorough ? 1000 : 40;
        long completed = 0, cancelled = 0, preempted = 0;
        long[] hits = new long[4], evicted = new long[3];
        using var rig = new MixRig();
        for (int i = 0; i < mixes; i++)
        {
            int seed = Shrinker.FirstSeed + i;
            var random = new Random(1000 * map + seed);
            var shape = new MixShape(Maps[map], random.Next(2) == 0 ? "f32" : "bf16", PageTokens: 2 << random.Next(3), Pages: random.Next(3, 26),
                MaxSequences: random.Next(1, 6), MaxStepTokens: random.Next(1, 14), PinnedShare: random.Next(1, 5) * 0.25);
            Shrinker.Check(Shrinker.Program(random, random.Next(20, 120), Mix.Codes), program =>
            {
                using var mix = new Mix(rig, shape);
                string? wrong = mix.Play(program);
                (completed, cancelled, preempted) = (completed + mix.Completed, cancelled + mix.Cancelled, preempted + mix.Preemptions);
                for (int k = 0; k < hits.Length; k++)
                {
                    hits[k] += mix.Counters.Hits[k];
                }
                for (int k = 0; k < evicted.Length; k++)
                {
                    evicted[k] += mix.Counters.Evicted[k];
                }
                return wrong is null ? null : $"seed {seed}, {shape}: {wrong}";
            });
        }
        string seen = $"{completed} completed, {cancelled} cancelled, {preempted} preempted; found {string.Join(' ', hits)}; evicted {string.Join(' ', evicted)}";
        TestContext.Current.TestOutputHelper?.WriteLine(seen);
        // Mixes in which nothing of this happens would prove nothing. Where all is windows, nothing grows once it is admitted.
        Assert.True(completed > mixes && cancelled > 0 && (preempted > 0 || Maps[map] == "0s_1s_2s_3s") && hits.All(n => n > 0) && evicted.All(n => n > 0), seen);
    }
}
