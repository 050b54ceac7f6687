using System.Text.Json.Nodes;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Bench;

/// <summary>A folder of random weights (as `kvcuda init` makes it) for the time of a bench.</summary>
sealed class BenchModel : IDisposable
{
    public BenchModel(int dim, int layers, int heads, int kvHeads, int mlp, int vocabulary, int context)
    {
        string config = Path.Combine(Folder, "config.json");
        File.WriteAllText(config, new JsonObject
        {
            ["architectures"] = new JsonArray("LlamaForCausalLM"), ["model_type"] = "llama", ["hidden_act"] = "silu",
            ["hidden_size"] = dim, ["num_hidden_layers"] = layers, ["num_attention_heads"] = heads, ["num_key_value_heads"] = kvHeads,
            ["intermediate_size"] = mlp, ["vocab_size"] = vocabulary, ["max_position_embeddings"] = context, ["rms_norm_eps"] = 1e-5,
            ["rope_theta"] = 10000.0, ["tie_word_embeddings"] = true, ["torch_dtype"] = "bfloat16", ["eos_token_id"] = 0,
        }.ToJsonString());
        ModelConfig read = ModelConfig.LoadFile(config);
        RandomModel.Write(Folder, read, _ => true, DType.BF16, seed: 1);
        Parameters = TensorList.Of(read, _ => true).Sum(spec => spec.Shape.Count);
    }

    public string Folder { get; } = Directory.CreateTempSubdirectory("kvcuda-bench-").FullName;

    public long Parameters { get; }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
