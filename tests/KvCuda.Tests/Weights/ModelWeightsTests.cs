using System.Runtime.InteropServices;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Weights;

public sealed class ModelWeightsTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    const string Body = """
        "hidden_size":32,"intermediate_size":48,"num_attention_heads":4,"num_hidden_layers":4,"num_key_value_heads":2,"head_dim":8,
        "vocab_size":40,"max_position_embeddings":64
        """;

    const string Neo = """
        {"architectures":["GPTNeoForCausalLM"],"hidden_size":32,"num_layers":4,"num_heads":4,"vocab_size":40,"max_position_embeddings":64}
        """;

    static string Of(string architecture, string more = "") =>
        $$"""{"architectures":["{{architecture}}"],{{Body}}{{(more.Length > 0 ? "," + more : "")}}}""";

    ModelConfig Config(string json)
    {
        folder.Write("config.json", json);
        return ModelConfig.Load(folder.ToString());
    }

    ModelConfig Make(string json, DType type = DType.F32, string sharing = "standard")
    {
        ModelConfig config = Config(json);
        RandomModel.Write(folder.ToString(), config, LayerSharing.Parse(sharing, config.Layers).Owns, type, 3);
        return config;
    }

    [Fact]
    public void A_stored_head_that_differs_from_the_embedding_it_should_be_is_an_error()
    {
        Make(Of("LlamaForCausalLM"));
        ModelConfig tied = Config(Of("LlamaForCausalLM", "\"tie_word_embeddings\":true"));
        string error = Assert.Throws<ModelFormatException>(() => ModelWeights.Load(folder.ToString(), tied, _ => true)).Message;
        Assert.Contains("tie_word_embeddings", error, StringComparison.Ordinal);

        // The same bytes are no contradiction.
        long head, embedding;
        int bytes;
        using (SafetensorsModel files = SafetensorsModel.Open(folder.ToString()))
        {
            nint end = files.Tensors.Values.Max(tensor => (nint)(tensor.Address + tensor.Bytes));
            StoredTensor stored = files.Tensors["lm_head.weight"];
            (head, embedding, bytes) = (end - stored.Address, end - files.Tensors["model.embed_tokens.weight"].Address, (int)stored.Bytes);
        }
        byte[] file = File.ReadAllBytes(folder["model.safetensors"]);
        file.AsSpan(file.Length - (int)embedding, bytes).CopyTo(file.AsSpan(file.Length - (int)head));
        folder.Write("model.safetensors", file);
        using ModelWeights weights = ModelWeights.Load(folder.ToString(), tied, _ => true);
        Assert.Equal(weights.Embedding.Address, weights.Head.Address);
    }

    public static TheoryData<string> Families =>
    [
        Of("LlamaForCausalLM"), Of("LlamaForCausalLM", "\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":true"),
        Of("MistralForCausalLM"), Of("Qwen2ForCausalLM"), Of("Qwen3ForCausalLM"), Of("HunYuanDenseV1ForCausalLM"), Neo,
    ];

    [Theory]
    [MemberData(nameof(Families))]
    public void Every_family_loads_what_its_config_says_and_finds_each_tensor_in_its_place(string json)
    {
        foreach (DType type in (DType[])[DType.F32, DType.F16, DType.BF16])
        {
            ModelConfig config = Make(json, type);
            using ModelWeights weights = ModelWeights.Load(folder.ToString(), config, layer => true);
            Assert.Equal(type, weights.Type);
            Assert.Equal((40, 32), (weights.Embedding.Rows, weights.Embedding.Columns));
            Assert.Equal(config.TiedHead, weights.Head.Address == weights.Embedding.Address);
            Assert.Equal(config.Rope is null, !weights.PositionEmbedding.IsNone);
            foreach (LayerWeights layer in weights.Layers)
            {
                Assert.Equal((config.QuerySize, 32), (layer.Query.Rows, layer.Query.Columns));
                Assert.Equal((config.KvSize, 32), (layer.Key.Rows, layer.Key.Columns));
                Assert.Equal((config.KvSize, 32), (layer.Value.Rows, layer.Value.Columns));
                Assert.Equal((32, config.QuerySize), (layer.Output.Rows, layer.Output.Columns));
                Assert.Equal((config.MlpSize, 32), (layer.Up.Rows, layer.Up.Columns));
                Assert.Equal((32, config.MlpSize), (layer.Down.Rows, layer.Down.Columns));
                Assert.Equal(config.GatedMlp, !layer.Gate.IsNone);
                Assert.Equal(config.QkvBias, !layer.QueryBias.IsNone && !layer.KeyBias.IsNone && !layer.ValueBias.IsNone);
                Assert.Equal(config.OutputBias, !layer.OutputBias.IsNone);
                Assert.Equal(config.MlpBias, !layer.UpBias.IsNone && !layer.DownBias.IsNone);
                Assert.Equal(config.HeadNorm != HeadNorm.None, !layer.QueryNorm.IsNone && !layer.KeyNorm.IsNone);
                Assert.Equal(config.Norm == NormKind.Layer, !layer.MlpNormBias.IsNone);
            }
            Assert.Equal(TensorList.Of(config, layer => true).Count(), weights.All.Count());
            Assert.Equal(weights.All.Select(entry => entry.Tensor.Address).Distinct().Count(), weights.All.Count());
            File.Delete(folder["model.safetensors"]);
        }
    }

    [Fact]
    public void A_layer_that_owns_no_keys_and_values_needs_no_weights_for_them()
    {
        ModelConfig config = Make(Of("Qwen3ForCausalLM"), sharing: "cla:2");
        using ModelWeights weights = ModelWeights.Load(folder.ToString(), config, layer => layer % 2 == 0);
        Assert.True(weights.Layers[1] is { Key.IsNone: true, Value.IsNone: true, KeyNorm.IsNone: true, Query.IsNone: false, QueryNorm.IsNone: false });
        Assert.False(weights.Layers[2].Key.IsNone);
        var error = Assert.Throws<ModelFormatException>(() => ModelWeights.Load(folder.ToString(), config, layer => true));
        Assert.Contains("model.layers.1.self_attn.k_proj.weight (16, 32) is missing", error.Message, StringComparison.Ordinal);
        Assert.Contains("the layer sharing in use", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_shape_is_told_with_both_shapes()
    {
        Make(Of("LlamaForCausalLM"));
        ModelConfig wider = Config(Of("LlamaForCausalLM").Replace("\"intermediate_size\":48", "\"intermediate_size\":50", StringComparison.Ordinal));
        var error = Assert.Throws<ModelFormatException>(() => ModelWeights.Load(folder.ToString(), wider, layer => true));
        Assert.Equal("model.safetensors: model.layers.0.mlp.gate_proj.weight has the shape (48, 32), but config.json makes it (50, 32).", error.Message);
    }

    [Fact]
    public void A_missing_head_says_how_a_tied_one_is_stated()
    {
        Make(Of("LlamaForCausalLM", "\"tie_word_embeddings\":true"));
        ModelConfig untied = Config(Of("LlamaForCausalLM"));
        Assert.Contains("tie_word_embeddings", Assert.Throws<ModelFormatException>(
            () => ModelWeights.Load(folder.ToString(), untied, layer => true)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Names_without_the_familys_prefix_are_found()
    {
        ModelConfig config = Config(Neo);
        TensorSpec[] specs = [.. TensorList.Of(config, layer => true)];
        using (var writer = new SafetensorsWriter(folder["model.safetensors"],
            specs.Select(spec => (spec.Name["transformer.".Length..], DType.F32, spec.Shape))))
        {
            writer.Finish();
        }
        using ModelWeights weights = ModelWeights.Load(folder.ToString(), config, layer => true);
        Assert.Equal(4, weights.Layers.Count);
    }

    [Fact]
    public void Integer_tensors_beside_the_weights_are_ignored_but_cannot_be_weights()
    {
        ModelConfig config = Make(Neo);
        byte[] file = File.ReadAllBytes(folder["model.safetensors"]);
        int at = file.AsSpan().IndexOf("\"F32\""u8);
        "\"I32\""u8.CopyTo(file.AsSpan(at));
        folder.Write("model.safetensors", file);
        Assert.Contains("is stored as I32; weights may be F32, F16 or BF16", Assert.Throws<UnsupportedModelException>(
            () => ModelWeights.Load(folder.ToString(), config, layer => true)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Moving_touches_each_tensor_once_and_keeps_a_tied_head_tied()
    {
        ModelConfig config = Make(Of("LlamaForCausalLM", "\"tie_word_embeddings\":true"));
        using ModelWeights weights = ModelWeights.Load(folder.ToString(), config, layer => true);
        var seen = new List<string>();
        ModelWeights moved = weights.Move((_, _, tensor) =>
        {
            seen.Add(tensor.Name);
            return new(tensor.Name, tensor.Type, tensor.Address + 1, tensor.Rows, tensor.Columns);
        });
        Assert.Equal(seen.Distinct().Count(), seen.Count);
        Assert.Equal(weights.All.Count(), seen.Count);
        Assert.Equal(moved.Embedding.Address, moved.Head.Address);
        Assert.Equal(weights.Layers[3].Down.Address + 1, moved.Layers[3].Down.Address);
    }

    [Fact]
    public void Random_models_are_reproducible_and_of_the_right_scale()
    {
        string json = Of("LlamaForCausalLM").Replace("\"hidden_size\":32", "\"hidden_size\":1024", StringComparison.Ordinal)
            .Replace("\"vocab_size\":40", "\"vocab_size\":2000", StringComparison.Ordinal);
        ModelConfig config = Make(json);
        byte[] first = File.ReadAllBytes(folder["model.safetensors"]);
        RandomModel.Write(folder.ToString(), config, layer => true, DType.F32, 3, TestContext.Current.CancellationToken);
        Assert.True(first.AsSpan().SequenceEqual(File.ReadAllBytes(folder["model.safetensors"])));
        using (ModelWeights weights = ModelWeights.Load(folder.ToString(), config, layer => true))
        {
            Check(weights.Embedding, 1 / 32.0);
            Check(weights.Layers[0].Gate, 1 / 32.0);
            Check(weights.Layers[1].Output, 1 / Math.Sqrt(2 * 4 * 32));
            Assert.All(weights.Layers[2].MlpNorm.Span<float>().ToArray(), weight => Assert.Equal(1, weight));
            Assert.False(weights.Layers[0].Key.Span<float>().SequenceEqual(weights.Layers[0].Value.Span<float>()));
        }
        RandomModel.Write(folder.ToString(), config, layer => true, DType.F32, 4, TestContext.Current.CancellationToken);
        Assert.False(first.AsSpan().SequenceEqual(File.ReadAllBytes(folder["model.safetensors"])));

        static void Check(Tensor tensor, double deviation)
        {
            float[] numbers = tensor.Span<float>().ToArray();
            double mean = numbers.Average(), found = Math.Sqrt(numbers.Average(x => (double)x * x));
            Assert.InRange(mean, -0.05 * deviation, 0.05 * deviation);
            Assert.InRange(found, 0.97 * deviation, 1.03 * deviation);
        }
    }

    [Fact]
    public void Converting_gives_each_owner_the_mean_of_its_readers()
    {
        ModelConfig config = Make(Of("Qwen2ForCausalLM"));
        LayerSharing before = LayerSharing.Standard(4), after = LayerSharing.Parse("0_2_2_2", 4);
        using SafetensorsModel files = SafetensorsModel.Open(folder.ToString());
        using ModelWeights source = ModelWeights.Load(files, config, before.Owns);
        Directory.CreateDirectory(folder["out"]);
        ConvertedModel.Write(files, folder["out"], config, before.Target, after.Owns, after.Readers);
        using ModelWeights made = ModelWeights.Load(folder["out"], config, after.Owns);
        float[] Numbers(ModelWeights weights, int layer, TensorRole role) =>
            MemoryMarshal.Cast<byte, float>(weights.Layers[layer][role].Span<byte>()).ToArray();
        foreach (TensorRole role in (TensorRole[])[TensorRole.Key, TensorRole.Value, TensorRole.KeyBias])
        {
            float[] one = Numbers(source, 1, role), two = Numbers(source, 2, role), three = Numbers(source, 3, role);
            Assert.Equal(one.Select((x, i) => (float)(((double)x + two[i] + three[i]) / 3)), Numbers(made, 2, role));
            Assert.Equal(Numbers(source, 0, role), Numbers(made, 0, role));
        }
        Assert.Equal(Numbers(source, 1, TensorRole.Query), Numbers(made, 1, TensorRole.Query));
        Assert.True(made.Layers[1].Key.IsNone);

        // And back: every layer gets a copy of what it read.
        using SafetensorsModel shared = SafetensorsModel.Open(folder["out"]);
        Directory.CreateDirectory(folder["back"]);
        ConvertedModel.Write(shared, folder["back"], config, after.Target, before.Owns, before.Readers);
        using ModelWeights again = ModelWeights.Load(folder["back"], config, before.Owns);
        Assert.Equal(Numbers(made, 2, TensorRole.Key), Numbers(again, 1, TensorRole.Key));
    }
}
