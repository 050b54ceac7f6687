using System.Text;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Weights;

public class ModelConfigTests
{
    const string LlamaBody = """
        "hidden_size":64,"intermediate_size":96,"num_attention_heads":4,"num_hidden_layers":4,"num_key_value_heads":2,
        "vocab_size":100,"max_position_embeddings":2048
        """;

    static string Of(string architecture, string more = "") =>
        $$"""{"architectures":["{{architecture}}"],{{LlamaBody}}{{(more.Length > 0 ? "," + more : "")}}}""";

    static ModelConfig Read(string json) => ModelConfigReader.Read(ConfigJson.Parse("config.json", Encoding.UTF8.GetBytes(json)));

    [Fact]
    public void A_Llama_config_is_read_with_its_defaults()
    {
        ModelConfig config = Read(Of("LlamaForCausalLM", "\"rms_norm_eps\":1e-05,\"torch_dtype\":\"bfloat16\",\"eos_token_id\":2,\"bos_token_id\":1"));
        Assert.Equal((ModelFamily.Llama, 64, 4, 4, 2, 16, 96, 100, 2048), (config.Family, config.HiddenSize, config.Layers, config.Heads,
            config.KvHeads, config.HeadDim, config.MlpSize, config.Vocabulary, config.MaxPositions));
        Assert.Equal((NormKind.Rms, 1e-5f, Activation.Silu, true), (config.Norm, config.NormEpsilon, config.Activation, config.GatedMlp));
        Assert.Equal((false, false, false, HeadNorm.None, false), (config.QkvBias, config.OutputBias, config.MlpBias, config.HeadNorm, config.TiedHead));
        Assert.Equal(0.25f, config.AttentionScale);
        Assert.Equal([0, 0, 0, 0], config.Windows);
        Assert.Equal(DType.BF16, config.Type);
        Assert.Equal((7, 2), (config.ForwardPasses, config.BackwardPasses));
        Assert.Equal(8, config.Rope!.InverseFrequencies.Length);
        Assert.Equal((32, 64), (config.KvSize, config.QuerySize));
    }

    [Fact]
    public void Families_differ_where_their_code_differs()
    {
        Assert.True(Read(Of("LlamaForCausalLM", "\"attention_bias\":true,\"mlp_bias\":true")) is
            { QkvBias: true, OutputBias: true, MlpBias: true });
        Assert.True(Read(Of("Qwen2ForCausalLM")) is { QkvBias: true, OutputBias: false, HeadNorm: HeadNorm.None });
        Assert.True(Read(Of("Qwen3ForCausalLM")) is { QkvBias: false, HeadNorm: HeadNorm.BeforeRope, HeadDim: 128 });
        Assert.True(Read(Of("HunYuanDenseV1ForCausalLM")) is { HeadNorm: HeadNorm.AfterRope, NormEpsilon: 1e-5f, HeadDim: 16 });
        Assert.True(Read(Of("HunYuanDenseV1ForCausalLM", "\"use_qk_norm\":false")) is { HeadNorm: HeadNorm.None });
        Assert.True(Read(Of("LCKVLlamaForCausalLM", "\"layer_types\":\"0_0_2_2\",\"forward_passes\":5,\"force_nodiag\":true")) is
            { SharingMap: "0_0_2_2", ForwardPasses: 5, ForceStrictlyEarlier: true, SharingWindow: 4096 });
        Assert.True(Read(Of("LlamaForCausalLM", "\"use_cla\":true,\"cla_share_factor\":2")) is { ClaShareFactor: 2 });
        Assert.True(Read(Of("LlamaForCausalLM", "\"use_cla\":false,\"cla_share_factor\":2")) is { ClaShareFactor: 1 });
        Assert.Equal("LlamaForCausalLM", Read($$"""{"model_type":"llama",{{LlamaBody}}}""").Architecture);
        Assert.Equal(24, Read(Of("LlamaForCausalLM", "\"head_dim\":24")).HeadDim);
    }

    [Fact]
    public void Windows_follow_the_architecture()
    {
        Assert.Equal([9, 9, 9, 9], Read(Of("MistralForCausalLM", "\"sliding_window\":9")).Windows);
        Assert.Equal([0, 0, 0, 0], Read(Of("MistralForCausalLM", "\"sliding_window\":null")).Windows);
        Assert.Equal([0, 0, 0, 0], Read(Of("LlamaForCausalLM", "\"sliding_window\":9")).Windows);
        const string qwen = "\"sliding_window\":9,\"max_window_layers\":3";
        Assert.Equal([0, 0, 0, 0], Read(Of("Qwen2ForCausalLM", qwen)).Windows);
        Assert.Equal([0, 0, 0, 9], Read(Of("Qwen2ForCausalLM", qwen + ",\"use_sliding_window\":true")).Windows);
        Assert.Equal([9, 0, 9, 0], Read(Of("Qwen3ForCausalLM", qwen + ",\"use_sliding_window\":true,\"layer_types\":"
            + "[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]")).Windows);
    }

    const string Neo = """
        "architectures":["GPTNeoForCausalLM"],"hidden_size":32,"num_layers":4,"num_heads":4,"intermediate_size":null,
        "vocab_size":96,"max_position_embeddings":512,"window_size":5
        """;

    [Fact]
    public void GPT_Neo_has_learned_positions_local_layers_and_unscaled_scores()
    {
        ModelConfig config = Read($$"""{{{Neo}},"attention_types":[[["global","local"],2]]}""");
        Assert.Null(config.Rope);
        Assert.Equal([0, 5, 0, 5], config.Windows);
        Assert.Equal((128, 1f, NormKind.Layer, true, false), (config.MlpSize, config.AttentionScale, config.Norm, config.TiedHead, config.GatedMlp));
        Assert.Equal((false, true, true, Activation.GeluTanh), (config.QkvBias, config.OutputBias, config.MlpBias, config.Activation));
        Assert.Equal([0, 5, 5, 5], Read($$"""{{{Neo}},"attention_layers":["global","local","local","local"]}""").Windows);
        Assert.Equal([0, 5, 0, 5], Read($$"""{{{Neo}}}""").Windows);
        foreach (string types in (string[])["[[[\"global\"],3]]", "[[[\"global\"],2000000000]]", "[[1,2]]", "7", "[[[\"global\"]]]"])
        {
            Assert.Throws<ModelFormatException>(() => Read($$"""{{{Neo}},"attention_types":{{types}}}"""));
        }
    }

    [Theory]
    [InlineData(2048, "\"rope_scaling\":null", 2048)]
    [InlineData(128, "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":128}", 512)]
    [InlineData(40960, "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}", 131072)]
    [InlineData(131072, "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}", 131072)]
    [InlineData(32768, "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6},\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}", 131072)]
    [InlineData(2048, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}", 5120)]
    [InlineData(2048, "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}", 2048)]
    [InlineData(131072, "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"original_max_position_embeddings\":8192}", 131072)]
    [InlineData(int.MaxValue, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":1e300}", 1 << 24)]
    [InlineData(int.MaxValue, "\"rope_scaling\":null", 1 << 24)]
    public void A_rope_scaling_that_lengthens_lengthens_the_context(int stated, string scaling, int context)
    {
        string json = Of("LlamaForCausalLM", scaling).Replace("\"max_position_embeddings\":2048", $"\"max_position_embeddings\":{stated}", StringComparison.Ordinal);
        Assert.Equal(context, Read(json).MaxPositions);
    }

    [Fact]
    public void Fields_that_nothing_reads_are_known_by_name()
    {
        using var folder = new TemporaryFolder();
        folder.Write("config.json", Of("LlamaForCausalLM", "\"use_cache\":true,\"a_new_idea\":3,\"eos_token_id\":2,\"another\":null"));
        Assert.Equal(["a_new_idea"], ModelConfig.Load(folder.ToString()).UnreadFields);
    }

    [Theory]
    [InlineData("\"quantization_config\":{\"bits\":4}", "quantization_config asks for quantised weights")]
    [InlineData("\"num_local_experts\":8", "num_local_experts asks for experts")]
    [InlineData("\"num_experts\":[1,1,8,8]", "num_experts asks for experts")]
    [InlineData("\"attn_logit_softcapping\":50.0", "soft caps on attention scores")]
    [InlineData("\"hidden_act\":\"xielu\"", "the activation 'xielu'")]
    [InlineData("\"rope_scaling\":{\"rope_type\":\"spiral\",\"factor\":2}", "the rope type 'spiral'")]
    [InlineData("\"rope_scaling\":{\"type\":\"linear\",\"facter\":2,\"factor\":2}", "the field 'facter' is not known")]
    [InlineData("\"rope_parameters\":{\"full_attention\":{\"rope_theta\":5e5},\"rope_theta\":1e4}", "'rope_theta' is not known beside parameters per layer type")]
    [InlineData("\"rope_parameters\":{\"full_attention\":{\"rope_theta\":5e5},\"sliding_attention\":{\"rope_theta\":1e4}}", "different rope parameters")]
    [InlineData("\"rope_scaling\":{\"type\":\"default\",\"mrope_section\":[1,2]}", "mrope_section")]
    [InlineData("\"layer_types\":[\"full_attention\",\"linear_attention\",\"full_attention\",\"full_attention\"]", "layer 1 is of type 'linear_attention'")]
    [InlineData("\"torch_dtype\":\"float8_e4m3fn\"", "weights of type 'float8_e4m3fn'")]
    [InlineData("\"logits_scaling\":8", "scaled logits")]
    [InlineData("\"head_dim\":17", "heads of 17 numbers")]
    public void What_would_be_computed_wrongly_is_refused_by_name(string field, string reason)
    {
        var error = Assert.Throws<UnsupportedModelException>(() => Read(Of("LlamaForCausalLM", field)));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"quantization_config\":null")]
    [InlineData("\"num_experts\":1")]
    [InlineData("\"num_experts\":[1,1,1,1]")]
    [InlineData("\"num_local_experts\":0")]
    [InlineData("\"use_mla\":false")]
    [InlineData("\"rope_scaling\":null")]
    public void Fields_that_change_nothing_are_no_reason_to_refuse(string field) =>
        Assert.Equal(4, Read(Of("LlamaForCausalLM", field)).Layers);

    [Fact]
    public void Another_architecture_is_refused_with_the_list_of_those_supported()
    {
        var error = Assert.Throws<UnsupportedModelException>(() => Read(Of("GemmaForCausalLM")));
        Assert.Contains("'GemmaForCausalLM'", error.Message, StringComparison.Ordinal);
        Assert.All(ModelConfigReader.Architectures, name => Assert.Contains(name, error.Message, StringComparison.Ordinal));
        Assert.Throws<UnsupportedModelException>(() => Read("{}"));
    }

    [Theory]
    [InlineData("{\"architectures\":[\"LlamaForCausalLM\"]}", "hidden_size is missing")]
    [InlineData("[]", "should be a JSON object")]
    [InlineData("{", "is not valid JSON")]
    [InlineData("{\"a\":1,\"a\":2}", "is not valid JSON")]
    public void A_malformed_config_is_one_clear_error(string json, string reason) =>
        Assert.Contains(reason, Assert.Throws<ModelFormatException>(() => Read(json)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("\"num_hidden_layers\":4", "\"num_hidden_layers\":-4", "a whole number from 1 to 4096; it is -4")]
    [InlineData("\"num_hidden_layers\":4", "\"num_hidden_layers\":4000000000", "it is 4000000000")]
    [InlineData("\"num_hidden_layers\":4", "\"num_hidden_layers\":\"4\"", "it is \"4\"")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"layer_types\":\"\\ud800\"", "layer_types should be a string")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"layer_types\":[\"\\ud800\"]", "layer_types should be a list of strings")]
    [InlineData("\"num_key_value_heads\":2", "\"num_key_value_heads\":3", "4 is not a multiple of num_key_value_heads 3")]
    [InlineData("\"hidden_size\":64", "\"hidden_size\":63", "is not a multiple of num_attention_heads 4, and head_dim is missing")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"layer_types\":[\"full_attention\"]", "layer_types has 1 entries for 4 layers")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"rope_theta\":0", "rope_theta should be a number above 0; it is 0")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"rope_scaling\":{\"type\":\"linear\"}", "factor is missing")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"rope_scaling\":{\"factor\":4}", "no rope_type says what it scales")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"rope_scaling\":{\"type\":\"yarn\",\"rope_type\":\"linear\",\"factor\":4}", "but type is 'yarn'")]
    [InlineData("\"vocab_size\":100", "\"vocab_size\":100,\"partial_rotary_factor\":2", "partial_rotary_factor 2")]
    public void A_field_out_of_range_is_named_with_its_value(string field, string instead, string reason)
    {
        string json = Of("LlamaForCausalLM").Replace(field, instead, StringComparison.Ordinal);
        Assert.Contains(reason, Assert.Throws<ModelFormatException>(() => Read(json)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Mutated_configs_are_read_or_refused_with_one_clear_error()
    {
        string original = Of("Qwen3ForCausalLM", "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0},\"use_sliding_window\":true,"
            + "\"sliding_window\":9,\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\",\"full_attention\"]");
        string[] tokens = ["{", "}", "[", "]", "0", "-1", "1e308", "1e-308", "null", "true", "\"x\"", "99999999999", "\\ud800", "0.5"];
        var random = new Random(9);
        for (int round = 0; round < 5000; round++)
        {
            string json = original;
            for (int change = random.Next(1, 4); change > 0; change--)
            {
                int at = random.Next(json.Length), length = Math.Min(random.Next(6), json.Length - at);
                json = json.Remove(at, length).Insert(at, tokens[random.Next(tokens.Length)]);
            }
            try
            {
                ModelConfig config = Read(json);
                Assert.Equal(config.Layers, config.Windows.Count);
                Assert.Equal(0, config.Heads % config.KvHeads);
            }
            catch (KvCudaException error)
            {
                Assert.DoesNotContain(error.Message, char.IsControl);
            }
        }
    }
}
