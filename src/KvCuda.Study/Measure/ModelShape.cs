using System.Globalization;
using KvCuda.Tensors;

namespace KvCuda.Study;

/// <summary>The sizes of a Llama-like model.</summary>
internal sealed record ModelShape(
    string Name, int Dim, int Layers, int Heads, int KvHeads, int HeadDim, int Hidden, int Vocabulary)
{
    /// <summary>What results are reported for: Karpathy's 110M, TinyLlama 1.1B, Llama 2 7B.</summary>
    public static ModelShape Small { get; } = new("110M", 768, 12, 12, 12, 64, 2048, 32000);

    /// <inheritdoc cref="Small"/>
    public static ModelShape Medium { get; } = new("1.1B", 2048, 22, 32, 4, 64, 5632, 32000);

    /// <inheritdoc cref="Small"/>
    public static ModelShape Large { get; } = new("7B", 4096, 32, 32, 32, 128, 11008, 32000);

    /// <summary>Small enough for the host runner: only to see that the bench itself works.</summary>
    public static ModelShape Tiny { get; } = new("tiny", 64, 4, 4, 2, 16, 128, 512);

    /// <summary>The study's 110M (arXiv 2410.14442): as <see cref="Small"/>, with six KV heads.</summary>
    public static ModelShape Paper { get; } = new("110M-6kv", 768, 12, 12, 6, 64, 2048, 32000);

    /// <summary>Measured beside a model, so that the cost of a layer and that of its bytes can be told apart.</summary>
    public static ModelShape Calibration { get; } = new("calibration", 512, 4, 8, 4, 64, 1408, 4096);

    /// <summary>What a command line calls 110M, 1.1B, 7B; null: no such shape.</summary>
    public static ModelShape? Named(string name) => name switch
    {
        "110M" => Paper,
        "1.1B" => Medium,
        "7B" => Large,
        "tiny" => Tiny,
        _ => null,
    };

    public int Queries => Heads * HeadDim;

    public int Keys => KvHeads * HeadDim;

    /// <summary>Weights that a token passes through: all but the embedding, of which it reads one row.</summary>
    /// <param name="owners">layers that have a K and a V projection</param>
    public double Parameters(int owners) =>
        Layers * (2.0 * Dim * Queries + 3.0 * Dim * Hidden) + owners * 2.0 * Dim * Keys + (double)Dim * Vocabulary;

    /// <inheritdoc cref="Parameters(int)"/>
    public double Parameters() => Parameters(Layers);

    /// <summary>Bytes that a token's attention reads of one earlier token, over all layers, shared or not.</summary>
    public double KvBytesRead(DType type) => 2.0 * Layers * Keys * type.Bytes();

    /// <summary>Bytes that a token takes in the store.</summary>
    public double KvBytesKept(DType type, int owners) => 2.0 * owners * Keys * type.Bytes();

    /// <summary>config.json as transformers has it.</summary>
    public string Config(DType type, int context) => string.Create(CultureInfo.InvariantCulture, $$"""
        {
          "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
          "hidden_size": {{Dim}}, "intermediate_size": {{Hidden}}, "num_hidden_layers": {{Layers}},
          "num_attention_heads": {{Heads}}, "num_key_value_heads": {{KvHeads}}, "head_dim": {{HeadDim}},
          "vocab_size": {{Vocabulary}}, "max_position_embeddings": {{context}}, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
          "rope_scaling": null, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
          "torch_dtype": "{{(type == DType.F32 ? "float32" : type == DType.F16 ? "float16" : "bfloat16")}}"
        }
        """);
}
