using KvCuda.KvStore;

namespace KvCuda.Tests.KvStore;

public class LayerSharingTests
{
    static readonly string[] Partitionings = ["pizza", "sandwich", "lasagna"];
    static readonly string[] Positions = ["bottom", "middle-1/4", "middle", "middle-3/4", "top"];

    [Fact]
    public void Every_studied_map_has_exactly_the_owners_asked_for_and_each_reads_itself()
    {
        for (int layers = 1; layers <= 32; layers++)
        {
            for (int owners = 1; owners <= layers; owners++)
            {
                foreach (string name in from p in Partitionings from q in Positions select $"{p}-{q}:{owners}")
                {
                    LayerSharing map = LayerSharing.Parse(name, layers);
                    Assert.Equal(owners, map.Owners.Count);
                    Assert.All(map.Owners, owner => Assert.Equal(owner, map.Target(owner)));
                    Assert.Equal(map, LayerSharing.Parse(map.ToString(), layers));
                    Assert.Contains(name, map.IsStandard ? [name] : map.Names());
                    Assert.Equal(name, map.Name);
                    CheckInvariants(map);
                    if (name.Contains("bottom", StringComparison.Ordinal))
                    {
                        Assert.False(map.IsCyclic);
                    }

                    LayerSharing pinned = LayerSharing.Parse(name + ",keep-first", layers);
                    Assert.Equal(0, pinned.Target(0));
                    Assert.InRange(pinned.Owners.Count, owners, owners + (map.Target(0) == 0 ? 0 : 1));
                    Assert.Equal(pinned, LayerSharing.Parse(pinned.Name!, layers));
                    CheckInvariants(pinned);
                }
            }
        }
    }

    [Fact]
    public void The_other_names_hold_their_promises_at_every_depth()
    {
        for (int layers = 1; layers <= 32; layers++)
        {
            Assert.True(LayerSharing.Parse("standard", layers).IsStandard);
            for (int n = 1; n <= layers; n++)
            {
                Assert.Equal((layers + n - 1) / n, LayerSharing.Parse($"cla:{n}", layers).Owners.Count);
                Assert.Equal(n, LayerSharing.Parse($"mlkv:{n}", layers).Owners.Count);
                Assert.Equal(n, LayerSharing.Parse($"lckv:{n - 1}", layers).Owners.Count);
                Assert.Equal(LayerSharing.Parse($"sandwich-top:{n}", layers), LayerSharing.Parse($"lckv:{n - 1}", layers));
                if (layers % n == 0)
                {
                    Assert.Equal(
                        LayerSharing.Parse($"lasagna-bottom:{layers / n}", layers), LayerSharing.Parse($"cla:{n}", layers));
                }
            }
            foreach (string name in (string[])["yoco:9", "mixattention:9"])
            {
                LayerSharing map = LayerSharing.Parse(name, layers);
                CheckInvariants(map);
                Assert.False(map.IsCyclic);
                Assert.Equal(map, LayerSharing.Parse(map.ToString(), layers, window: 9));
                // Windowed layers and layers that see everything never share.
                Assert.All(Enumerable.Range(0, layers), i => Assert.Equal(map.Window(i), map.Window(map.Target(i))));
            }
        }
    }

    static void CheckInvariants(LayerSharing map)
    {
        var owners = map.Owners.ToHashSet();
        Assert.Equal(owners.Max(), map.LastOwner);
        Assert.Equal(map.Layers, map.Owners.Sum(owner => map.Readers(owner).Count));
        bool[] iterated = new bool[map.Layers];
        foreach (LayerBlock block in map.IteratedBlocks)
        {
            for (int i = block.First; i <= block.Last; i++)
            {
                Assert.False(iterated[i]);
                iterated[i] = true;
                Assert.InRange(map.Target(i), 0, block.Last);
            }
            Assert.True(map.LooksUpward(block.First));
        }
        for (int i = 0; i < map.Layers; i++)
        {
            Assert.Equal(owners.Contains(i), map.Owns(i));
            Assert.Equal(map.Target(i) > i, map.LooksUpward(i));
            Assert.Equal(map.LooksUpward(i), map.StrictlyEarlier(i));
            Assert.True(iterated[i] || !map.LooksUpward(i));
            Assert.Contains(map.Target(i), owners);
        }
    }

    [Theory]
    [InlineData("sandwich-middle:3", "0_10_10_10_10_10_10_10_10_10_10_10_10_10_10_10_10_10_10_10_10_21")]
    [InlineData("lckv:2", "0_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_20_21")]
    [InlineData("cla:2", "0_0_2_2_4_4_6_6_8_8_10_10_12_12_14_14_16_16_18_18_20_20")]
    [InlineData("lasagna-middle:11", "0_0_2_2_4_4_6_6_8_8_10_10_12_12_14_14_16_16_18_18_20_20")]
    [InlineData("lasagna-top:11", "1_1_3_3_5_5_7_7_9_9_11_11_13_13_15_15_17_17_19_19_21_21")]
    [InlineData("lasagna-top:11,keep-first", "0_1_3_3_5_5_7_7_9_9_11_11_13_13_15_15_17_17_19_19_21_21")]
    [InlineData("lasagna-bottom:3", "0_0_0_0_0_0_0_0_8_8_8_8_8_8_8_15_15_15_15_15_15_15")]
    [InlineData("lasagna-middle:3", "3_3_3_3_3_3_3_3_11_11_11_11_11_11_11_18_18_18_18_18_18_18")]
    [InlineData("lasagna-top:3", "7_7_7_7_7_7_7_7_14_14_14_14_14_14_14_21_21_21_21_21_21_21")]
    [InlineData("pizza-bottom:11", "0_1_2_3_4_5_6_7_8_9_10_10_10_10_10_10_10_10_10_10_10_10")]
    [InlineData("pizza-middle:11", "0_1_2_3_4_5_6_7_8_9_15_15_15_15_15_15_15_15_15_15_15_15")]
    [InlineData("pizza-top:3", "0_1_21_21_21_21_21_21_21_21_21_21_21_21_21_21_21_21_21_21_21_21")]
    [InlineData("sandwich-bottom:11", "0_1_2_3_4_5_5_5_5_5_5_5_5_5_5_5_5_17_18_19_20_21")]
    [InlineData("sandwich-top:11", "0_1_2_3_4_16_16_16_16_16_16_16_16_16_16_16_16_17_18_19_20_21")]
    [InlineData("yoco:1024", "0s_1s_2s_3s_4s_5s_6s_7s_8s_9s_10s_11_11_11_11_11_11_11_11_11_11_11")]
    [InlineData("mixattention:1024",
        "0_1s_1s_3s_3s_3s_0_7s_7s_9s_9s_9s_12_13s_13s_15s_15s_15s_12_19s_19s_19s")]
    public void The_published_maps_of_22_layers_come_out_of_their_names(string name, string expected)
    {
        LayerSharing map = LayerSharing.Parse(name, 22);
        Assert.Equal(expected, map.ToString());
        Assert.Contains(name, LayerSharing.Parse(expected, 22, window: 1024).Names());
    }

    [Theory]
    [InlineData("sandwich-middle:3", 22, "1-10")]
    [InlineData("sandwich-top:3", 22, "1-20")]
    [InlineData("pizza-middle:11", 22, "10-15")]
    [InlineData("pizza-top:3", 22, "2-21")]
    [InlineData("lasagna-top:3", 22, "0-7 8-14 15-21")]
    [InlineData("lasagna-bottom:3", 22, "")]
    [InlineData("0_3_5_3_2_5_6_4", 8, "1-5")]
    [InlineData("2_1_4_3_4_5", 6, "0-4")]
    [InlineData("1_0_3_2", 4, "0-1 2-3")]
    public void Only_the_layers_of_a_cycle_are_iterated(string text, int layers, string blocks)
    {
        LayerSharing map = LayerSharing.Parse(text, layers);
        Assert.Equal(blocks, string.Join(' ', map.IteratedBlocks.Select(b => $"{b.First}-{b.Last}")));
    }

    [Fact]
    public void Targets_of_targets_are_not_followed()
    {
        LayerSharing map = LayerSharing.Parse("0_3_5_3_2_5_6_4", 8);
        Assert.Equal([0, 2, 3, 4, 5, 6], map.Owners);
        Assert.Equal(4, map.Target(7));
        Assert.True(map.Owns(2) && map.LooksUpward(2) && !map.LooksUpward(4));
        Assert.Equal(6, map.LastOwner);
        Assert.Null(map.Name);
    }

    [Fact]
    public void An_owner_keeps_what_its_widest_reader_sees()
    {
        Assert.Equal(0, LayerSharing.Parse("0s_0_0s", 3, 5).OwnerWindow(0));
        Assert.Equal(5, LayerSharing.Parse("0s_0s_2", 3, 5).OwnerWindow(0));
        // Layer 1 sees everything, but it reads layer 0: only layer 2 reads layer 1, through a window.
        LayerSharing map = LayerSharing.Parse("0_0_1s", 3, 5);
        Assert.Equal(5, map.OwnerWindow(1));
        Assert.Equal(0, map.Window(1));
        Assert.Equal(0, map.OwnerWindow(0));
    }

    [Fact]
    public void Names_keep_the_windows_of_the_architecture_and_notation_replaces_them()
    {
        int[] windows = [0, 256, 0, 256];
        Assert.Equal("0_0s_2_2s", LayerSharing.Parse("cla:2", 4, 256, windows).ToString());
        Assert.Equal("0_1s_2_3s", LayerSharing.Standard(4, windows).ToString());
        Assert.Equal("0_0_2_2", LayerSharing.Parse("0_0_2_2", 4, 256, windows).ToString());
    }

    [Theory]
    [InlineData("", 8, "there is no map of this name")]
    [InlineData("0_1_2", 8, "it has 3 entries, the model has 8 layers")]
    [InlineData("0_1_2_9", 4, "layer 3 reads layer 9, but the last layer is 3")]
    [InlineData("0_1_2_99999999999999", 4, "the entry of layer 3, '99999999999999'")]
    [InlineData("0_1__3", 4, "the entry of layer 2, ''")]
    [InlineData("0_1_2_-1", 4, "the entry of layer 3, '-1'")]
    [InlineData("0_1_2_3ss", 4, "the entry of layer 3, '3ss'")]
    [InlineData("0_1_2_3s", 4, "the model states no window size")]
    [InlineData("pizza-left:3", 8, "there is no map of this name")]
    [InlineData("pizza-bottom:0", 8, "from 1 to 8")]
    [InlineData("pizza-bottom:9", 8, "from 1 to 8")]
    [InlineData("pizza-bottom:x", 8, "'x' is not a whole number")]
    [InlineData("pizza-bottom:3:4", 8, "more than one ':'")]
    [InlineData("pizza-bottom:3,keep-last", 8, "the only one is keep-first")]
    [InlineData("cla:2,keep-first", 8, "cla has no options")]
    [InlineData("standard:3", 8, "standard takes no number")]
    [InlineData("cla", 8, "cla needs k")]
    [InlineData("lckv:8", 8, "from 0 to 7")]
    [InlineData("mlkv:9", 8, "from 1 to 8")]
    [InlineData("yoco", 8, "yoco needs a window")]
    public void A_map_that_makes_no_sense_is_refused_with_the_reason(string text, int layers, string reason)
    {
        var error = Assert.Throws<InvalidRequestException>(() => LayerSharing.Parse(text, layers));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.StartsWith($"The layer sharing '{text}'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_number_half_of_the_layers_own()
    {
        Assert.Equal(11, LayerSharing.Parse("pizza-bottom", 22).Owners.Count);
        Assert.Equal(4, LayerSharing.Parse("lasagna-top", 7).Owners.Count);
        Assert.Equal("0s_1s_2_2_2", LayerSharing.Parse("yoco", 5, 16).ToString());
    }

    [Fact]
    public void The_ways_in_which_configs_describe_sharing_are_understood()
    {
        Assert.True(LayerSharing.FromConfig(4).IsStandard);
        Assert.Equal("0_0_2_2_4", LayerSharing.FromConfig(5, claShareFactor: 2).ToString());
        Assert.Equal("0s_1s_2_3s_3s_2", LayerSharing.FromConfig(
            6, sharedTailLayers: 2, architectureWindows: [8, 8, 0, 8, 8, 0]).ToString());
        LayerSharing lckv = LayerSharing.FromConfig(3, layerTypes: "0_2_2", forceStrictlyEarlier: true);
        Assert.True(lckv.StrictlyEarlier(0) && lckv.StrictlyEarlier(2) && !lckv.LooksUpward(2));
        Assert.NotEqual(lckv, LayerSharing.Parse("0_2_2", 3));
        Assert.Equal(lckv, LayerSharing.Parse("0_2_2", 3).WithStrictlyEarlier(true));

        Assert.Contains("more than one way", Assert.Throws<ModelFormatException>(
            () => LayerSharing.FromConfig(3, layerTypes: "0_2_2", claShareFactor: 2)).Message, StringComparison.Ordinal);
        Assert.StartsWith("config.json: The layer sharing '0_2'", Assert.Throws<ModelFormatException>(
            () => LayerSharing.FromConfig(3, layerTypes: "0_2")).Message, StringComparison.Ordinal);
        Assert.Contains("num_kv_shared_layers is 2", Assert.Throws<ModelFormatException>(() => LayerSharing.FromConfig(
            4, sharedTailLayers: 2, architectureWindows: [8, 8, 8, 0])).Message, StringComparison.Ordinal);
        Assert.Contains("num_kv_shared_layers is 4", Assert.Throws<ModelFormatException>(
            () => LayerSharing.FromConfig(4, sharedTailLayers: 4)).Message, StringComparison.Ordinal);
    }
}
