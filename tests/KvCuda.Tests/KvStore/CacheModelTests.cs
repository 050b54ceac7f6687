using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Tests.KvStore;

/// <summary>The prefix tree, retention and eviction against <see cref="CacheModel"/> under random programs.</summary>
public sealed class CacheModelTests
{
    static readonly (string Map, int Window, int Wide)[] Kinds =
    [
        ("0_1", 0, 0),             // one full class
        ("0s", 3, 0),              // one window class: nodes without pages
        ("0s_1s_2s", 4, 1),        // one window in two shapes, and no full class
        ("0_1_2s", 3, 0),          // a full class of two owners, a window class of one
        ("0_1s_2s", 5, 2),         // one window, two shapes
        ("0_1s_2s", 1, 0),         // a window of nothing but the token itself
    ];

    [Fact]
    public void The_prefix_tree_agrees_with_the_model_under_random_programs() =>
        Play(streams: false, Shrinker.IsThorough ? 40_000 : 500);

    [Fact]
    public void Streaming_sequences_share_no_page_that_is_not_everybodys() =>
        Play(streams: true, Shrinker.IsThorough ? 20_000 : 200);

    [Fact]
    public void The_host_tier_keeps_what_the_device_has_no_room_for_and_gives_it_back_unchanged() =>
        Play(streams: false, Shrinker.IsThorough ? 40_000 : 500, tier: true);

    [Fact]
    public void Streaming_sequences_and_the_host_tier_get_along() =>
        Play(streams: true, Shrinker.IsThorough ? 20_000 : 200, tier: true);

    static void Play(bool streams, int programs, bool tier = false)
    {
        long hits = 0, evictions = 0, moves = 0, gains = 0, takes = 0, down = 0, up = 0, forgotten = 0;
        for (int seed = Shrinker.FirstSeed; seed < Shrinker.FirstSeed + programs; seed++)
        {
            var random = new Random(seed);
            (string map, int window, int wide) = Kinds[random.Next(Kinds.Length)];
            var layout = new KvLayout(
                LayerSharing.Parse(map, map.Split('_').Length, window),
                layer => new(1, layer < wide ? 32 : 16), DType.F32, pageTokens: 2);
            long largest = layout.Classes.Max(c => c.PageBytes);
            long slabBytes = largest * random.Next(1, 4);
            int slabs = random.Next(3, 8), hostSlabs = tier ? random.Next(layout.Classes.Count, 6) : 0;
            Shrinker.Check(Shrinker.Program(random, random.Next(20, 200), CacheModel.Codes), program =>
            {
                var model = new CacheModel(layout, slabs, slabBytes, streams, hostSlabs);
                string? wrong = model.Play(program);
                (hits, evictions, moves) = (hits + model.Hits, evictions + model.Evictions, moves + model.Moves);
                (gains, takes) = (gains + model.Gains, takes + model.Takes);
                (down, up, forgotten) = (down + model.MovedDown, up + model.MovedUp, forgotten + model.Forgotten);
                return wrong is null ? null : $"seed {seed}, {map} window {window} wide {wide}, {slabs} slabs of {slabBytes} bytes, {hostSlabs} on the host: {wrong}";
            });
        }
        // Programs that never find, evict or move anything would prove nothing.
        Assert.True(hits > programs && evictions > (tier ? programs / 10 : programs) && moves > 0 && gains > 0 && takes > 0,
            $"{hits} hits, {evictions} evictions, {moves} moves, {gains} requests fit by what they share, {takes} pages taken out of the tree");
        Assert.True(!tier || (down > programs && up > programs / 20 && forgotten > programs / 4), $"{down} down, {up} up, {forgotten} forgotten");
    }
}
