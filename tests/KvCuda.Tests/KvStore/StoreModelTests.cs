using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Tests.KvStore;

/// <summary>The real store against <see cref="StoreModel"/> under random programs, in arenas of 3 to 20 pages of two tokens.</summary>
public sealed class StoreModelTests
{
    // Page bytes differ from class to class in all of these, so that a copy tells its class.
    static readonly (string Map, int Window, int Wide)[] Kinds =
    [
        ("0_1", 0, 0),             // one full class
        ("0s", 3, 0),              // one window class
        ("0s_1s_2s", 4, 2),        // one window in two shapes, and no full class
        ("0_1_2s", 3, 0),          // a full class of two owners, a window class of one
        ("0_1_2s_3s", 5, 3),       // a full class, and one window in two shapes
        ("0_1s_2s", 1, 0),         // a window of nothing but the token itself
    ];

    [Fact]
    public void The_store_agrees_with_the_model_under_random_programs()
    {
        int programs = Shrinker.IsThorough ? 40_000 : 900;
        for (int seed = Shrinker.FirstSeed; seed < Shrinker.FirstSeed + programs; seed++)
        {
            var random = new Random(seed);
            (string map, int window, int wide) = Kinds[random.Next(Kinds.Length)];
            var layout = new KvLayout(
                LayerSharing.Parse(map, map.Split('_').Length, window),
                layer => new(1, layer < wide ? 32 : 16), DType.F32, pageTokens: 2);
            Assert.Distinct(layout.Classes.Select(c => c.PageBytes));
            long largest = layout.Classes.Max(c => c.PageBytes);
            long slabBytes = largest * random.Next(1, 4);
            int slabs = random.Next(3, 8);
            Shrinker.Check(Shrinker.Program(random, random.Next(20, 200), StoreModel.Codes),
                program => new StoreModel(layout, slabs, slabBytes).Play(program) is { } wrong
                    ? $"seed {seed}, {map} window {window} wide {wide}, {slabs} slabs of {slabBytes} bytes: {wrong}"
                    : null);
        }
    }
}
