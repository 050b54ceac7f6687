using System.Text;
using KvCuda.Weights;

namespace KvCuda.Tests.Weights;

/// <summary>
/// The expected numbers come from a separate implementation, in Python's double precision, of the formulas that Hugging
/// Face's modeling_rope_utils states.
/// </summary>
public class RopeTests
{
    static Rope Read(string fields, int headDim, int maxPositions = 2048) =>
        Rope.Read(ConfigJson.Parse("config.json", Encoding.UTF8.GetBytes($"{{{fields}}}")), headDim, maxPositions);

    static void Near(double expected, float actual) => Assert.InRange(actual / expected, 1 - 2e-7, 1 + 2e-7);

    [Fact]
    public void Plain_frequencies_fall_from_1_by_powers_of_theta()
    {
        Rope rope = Read("\"rope_theta\":10000.0", 8);
        Assert.Equal([1f, 0.1f, 0.01f, 0.001f], rope.InverseFrequencies);
        Assert.Equal(("default", 1f, 8), (rope.Type, rope.Scale, rope.RotatedDim));
        Assert.Equal(rope.InverseFrequencies, Read("", 8).InverseFrequencies);
        Assert.Equal(rope.InverseFrequencies, Read("\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":10000.0}", 8).InverseFrequencies);
    }

    [Fact]
    public void A_partial_rotation_spreads_over_the_rotated_part()
    {
        Assert.Equal([1f, 0.01f], Read("\"partial_rotary_factor\":0.5", 8).InverseFrequencies);
    }

    [Fact]
    public void Linear_scaling_divides()
    {
        Assert.Equal([0.25f, 0.025f, 0.0025f, 0.00025f], Read("\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}", 8).InverseFrequencies);
    }

    [Fact]
    public void Dynamic_scaling_changes_nothing_up_to_the_native_length_unless_it_states_alpha()
    {
        Assert.Equal(Read("", 128).InverseFrequencies, Read("\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4.0}", 128).InverseFrequencies);
        Rope hunyuan = Read("\"rope_scaling\":{\"type\":\"dynamic\",\"alpha\":1000.0,\"factor\":1.0}", 128);
        for (int i = 0; i < 64; i++)
        {
            Near(Math.Pow(11158839.92507748, -2.0 * i / 128), hunyuan.InverseFrequencies[i]);
        }
    }

    [Fact]
    public void Llama_3_blends_the_middle_frequencies()
    {
        Rope rope = Read("\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":1.0,"
            + "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}", 128);
        double[] expected = [0.00321144599, 0.000762541203, 9.7082878e-05, 1.58537859e-05];
        for (int k = 0; k < expected.Length; k++)
        {
            Near(expected[k], rope.InverseFrequencies[28 + (3 * k)]);
        }
        Assert.Equal(1, rope.InverseFrequencies[0]);
        Assert.Equal(1, rope.Scale);
    }

    [Fact]
    public void YaRN_blends_and_states_an_attention_factor()
    {
        Rope rope = Read("\"rope_theta\":1000000.0,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,"
            + "\"original_max_position_embeddings\":32768}", 128, 40960);
        double[] expected = [0.0133352143, 0.00316842257, 0.000602941176, 9.2623017e-05, 1.87473552e-05];
        for (int k = 0; k < expected.Length; k++)
        {
            Near(expected[k], rope.InverseFrequencies[20 + (6 * k)]);
        }
        Near(1.138629436111989, rope.Scale);
        Assert.Equal(0.5f, Read("\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"attention_factor\":0.5}", 128).Scale);
        Assert.Equal(1f, Read("\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"mscale\":1.0,\"mscale_all_dim\":1.0}", 128).Scale);
    }

    [Fact]
    public void Parameters_nested_per_layer_type_are_those_of_the_type()
    {
        const string nested = "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8.0,\"rope_theta\":1e6},"
            + "\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":1e4}}";
        ConfigJson config = ConfigJson.Parse("config.json", Encoding.UTF8.GetBytes($"{{{nested}}}"));
        Assert.Equal(Read("\"rope_theta\":1e6,\"rope_scaling\":{\"type\":\"linear\",\"factor\":8}", 8).InverseFrequencies,
            Rope.Read(config, 8, 2048, "full_attention").InverseFrequencies);
        Assert.Equal(Read("\"rope_theta\":1e4", 8).InverseFrequencies, Rope.Read(config, 8, 2048, "sliding_attention").InverseFrequencies);
        Assert.Equal(2048, Rope.Read(config, 8, 2048, "full_attention").MaxPositions);
        Assert.Equal([1f, 0.1f, 0.01f, 0.001f], Read("\"layer_types\":[\"sliding_attention\"]," + nested, 8).InverseFrequencies);
    }

    [Fact]
    public void A_proportional_rotation_has_exponents_over_the_whole_head_and_leaves_the_rest_still() =>
        // theta 10000, head 8, a quarter: int(0.25 * 8 / 2) = 1 of 4 pairs.
        Assert.Equal([1f, 0f, 0f, 0f], Read("\"rope_parameters\":{\"rope_type\":\"proportional\",\"rope_theta\":10000.0,\"partial_rotary_factor\":0.25}", 8)
            .InverseFrequencies);

    [Theory]
    [InlineData("longrope")]
    [InlineData("su")]
    [InlineData("yarn")]
    public void LongRoPE_has_a_list_up_to_the_native_length_and_one_beyond(string type)
    {
        Rope rope = Read($"\"original_max_position_embeddings\":128,\"rope_scaling\":{{\"type\":\"{type}\",\"short_factor\":[1,2],\"long_factor\":[4,8]}}", 4, 4096);
        Assert.Equal([1f, 0.005f], rope.InverseFrequencies);
        Assert.Equal([0.25f, 0.00125f], rope.Long!.InverseFrequencies);
        Assert.Equal((128, 4096, "longrope"), (rope.NativePositions, rope.MaxPositions, rope.Type));
        Near(1.3093073414159542, rope.Scale); // sqrt(1 + ln 32 / ln 128)
        Near(1.3093073414159542, rope.Long.Scale);
    }
}
