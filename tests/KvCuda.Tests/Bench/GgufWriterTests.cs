using System.Text;
using KvCuda.Model;
using KvCuda.PeerBench;
using KvCuda.Tensors;
using KvCuda.Tests.Weights;
using KvCuda.Weights;

namespace KvCuda.Tests.Bench;

/// <summary>The file that the bench writes for llama.cpp, read by a reader of its own (github.com/ggml-org/ggml, docs/gguf.md).</summary>
public sealed class GgufWriterTests
{
    // Grouped heads, a tied head, a vocabulary of no round number; a down projection whose rows are no whole groups of 32.
    const string Llama = """
        { "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 80,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 51, "max_position_embeddings": 512,
          "rms_norm_eps": 1e-05, "rope_theta": 20000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16" }
        """;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_tensor_is_there_once_aligned_and_in_its_place(bool quantise)
    {
        using var folder = new TemporaryFolder();
        using ModelWeights weights = Model(folder, Llama, out ModelConfig config);
        Gguf file = Written(folder, config, weights, quantise);

        Assert.Equal("llama", file.Keys["general.architecture"]);
        Assert.Equal(2, file.Keys["llama.block_count"]);
        Assert.Equal(4, file.Keys["llama.attention.head_count"]);
        Assert.Equal(2, file.Keys["llama.attention.head_count_kv"]);
        Assert.Equal(16, file.Keys["llama.rope.dimension_count"]);
        Assert.Equal(51, file.Keys["llama.vocab_size"]);
        Assert.InRange((float)file.Keys["llama.rope.freq_base"], 19_999, 20_001);
        Assert.Equal(weights.All.Count(), file.Tensors.Count);
        Assert.DoesNotContain("output.weight", file.Tensors.Keys); // tied: llama.cpp takes the embedding
        (long[] dims, int type, _) = file.Tensors["blk.1.attn_k.weight"];
        Assert.Equal([64, 32], dims); // inputs first
        Assert.Equal(quantise ? 8 : 30, type);
        Assert.Equal(0, file.Tensors["blk.0.ffn_norm.weight"].Type); // vectors are f32
        Assert.Equal(30, file.Tensors["blk.0.ffn_down.weight"].Type); // 80 inputs: no whole groups
        long end = 0;
        foreach ((long offset, long bytes) in file.Tensors.Values.Select(t => (t.Offset, Bytes(t.Type, t.Dims))).Order())
        {
            Assert.Equal(0, offset % 32);
            Assert.InRange(offset, end, end + 31);
            end = offset + bytes;
        }
        Assert.InRange(file.DataBytes, end, long.MaxValue);
        Assert.Equal(0, file.DataStart % 32);
    }

    [Fact]
    public void Stored_numbers_are_copied_but_rows_of_queries_and_keys_stand_in_the_order_of_neighbouring_rotations()
    {
        using var folder = new TemporaryFolder();
        using ModelWeights weights = Model(folder, Llama, out ModelConfig config);
        Gguf file = Written(folder, config, weights, quantise: false);

        Assert.Equal(Rows(weights.Layers[1].Down), file.Rows("blk.1.ffn_down.weight"));
        Assert.Equal(Rows(weights.Layers[0].Value), file.Rows("blk.0.attn_v.weight"));
        Assert.Equal(Rows(weights.Embedding), file.Rows("token_embd.weight"));
        ushort[][] stored = Rows(weights.Layers[1].Query), found = file.Rows("blk.1.attn_q.weight");
        for (int head = 0; head < 4; head++)
        {
            for (int pair = 0; pair < 8; pair++)
            {
                Assert.Equal(stored[head * 16 + pair], found[head * 16 + 2 * pair]);
                Assert.Equal(stored[head * 16 + 8 + pair], found[head * 16 + 2 * pair + 1]);
            }
        }
    }

    [Fact]
    public void Quantised_groups_are_those_of_the_definition_of_q8_0()
    {
        using var folder = new TemporaryFolder();
        using ModelWeights weights = Model(folder, Llama, out ModelConfig config);
        Gguf file = Written(folder, config, weights, quantise: true);

        byte[] bytes = file.Bytes("blk.0.attn_v.weight");
        ushort[][] stored = Rows(weights.Layers[0].Value);
        int at = 0;
        foreach (float[] group in stored.SelectMany(row => row.Select(BF16.ToSingle).Chunk(32)))
        {
            float scale = group.Max(MathF.Abs) / 127;
            Assert.Equal((Half)scale, BitConverter.ToHalf(bytes, at));
            // Rounded half away from zero, as ggml's quantize_row_q8_0_ref does.
            Assert.Equal(group.Select(x => (sbyte)MathF.Round(x * (1 / scale), MidpointRounding.AwayFromZero)), bytes.Skip(at + 2).Take(32).Select(b => (sbyte)b));
            at += 34;
        }
        Assert.Equal(bytes.Length, at);
    }

    [Theory]
    [InlineData("\"sliding_window\": 64, \"model_type\": \"mistral\", \"architectures\": [\"MistralForCausalLM\"]", "it has sliding windows")]
    [InlineData("\"attention_bias\": true", "it has biases")]
    public void What_llama_cpp_would_run_in_another_way_is_refused_with_the_reason(string fields, string reason)
    {
        using var folder = new TemporaryFolder();
        string config = Llama.Replace("\"torch_dtype\"", fields + ", \"torch_dtype\"", StringComparison.Ordinal);
        if (fields.Contains("architectures", StringComparison.Ordinal))
        {
            config = config.Replace("\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", ", "", StringComparison.Ordinal);
        }
        File.WriteAllText(folder["config.json"], config);
        Assert.Contains(reason, GgufWriter.Refusal(ModelConfig.Load(folder.ToString()), shares: false)!, StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_that_shares_keys_and_values_is_one_clear_error_and_measured_alone_on_request()
    {
        string folder = Path.Combine(Repository.Root, "weights", "pizza-top-4");
        using var cache = new TemporaryFolder();
        string message = Assert.Throws<UnsupportedModelException>(() => BenchModel.Existing(folder, cache.ToString(), alone: false, _ => { })).Message;
        Assert.Contains("its layers share keys and values. Give --alone to measure KvCuda only", message, StringComparison.Ordinal);
        Assert.True(BenchModel.Existing(folder, cache.ToString(), alone: true, _ => { }).Shares);
        Assert.Empty(Directory.EnumerateFileSystemEntries(cache.ToString()));
    }

    static ModelWeights Model(TemporaryFolder folder, string json, out ModelConfig config)
    {
        File.WriteAllText(folder["config.json"], json);
        config = ModelConfig.Load(folder.ToString());
        RandomModel.Write(folder.ToString(), config, _ => true, DType.BF16, seed: 3, TestContext.Current.CancellationToken);
        return ModelWeights.Load(folder.ToString(), config, _ => true);
    }

    static Gguf Written(TemporaryFolder folder, ModelConfig config, ModelWeights weights, bool quantise)
    {
        string path = folder["model.gguf"];
        GgufWriter.Write(path, config, weights, quantise);
        return new(File.ReadAllBytes(path));
    }

    static unsafe ushort[][] Rows(Tensor tensor) => [.. Enumerable.Range(0, tensor.Rows).Select(row => tensor.Slice(row, 1).Span<ushort>().ToArray())];

    static long Bytes(int type, long[] dims)
    {
        long count = dims.Aggregate(1L, (product, dim) => product * dim);
        return type switch { 0 => 4 * count, 8 => count / 32 * 34, _ => 2 * count };
    }

    /// <summary>A GGUF file's header and where its numbers are.</summary>
    sealed class Gguf
    {
        readonly byte[] file;

        public Gguf(byte[] file)
        {
            this.file = file;
            using var reader = new BinaryReader(new MemoryStream(file));
            Assert.Equal("GGUF", Encoding.ASCII.GetString(reader.ReadBytes(4)));
            Assert.Equal(3, reader.ReadInt32());
            long tensors = reader.ReadInt64(), keys = reader.ReadInt64();
            for (long i = 0; i < keys; i++)
            {
                string key = Text(reader);
                int type = reader.ReadInt32();
                Keys.Add(key, type switch { 4 => reader.ReadInt32(), 6 => reader.ReadSingle(), 8 => Text(reader), _ => throw new FormatException($"{key}: {type}") });
            }
            for (long i = 0; i < tensors; i++)
            {
                string name = Text(reader);
                long[] dims = new long[reader.ReadInt32()];
                for (int d = 0; d < dims.Length; d++)
                {
                    dims[d] = reader.ReadInt64();
                }
                Tensors.Add(name, (dims, reader.ReadInt32(), reader.ReadInt64()));
            }
            DataStart = (reader.BaseStream.Position + 31) / 32 * 32;
        }

        public Dictionary<string, object> Keys { get; } = [];

        public Dictionary<string, (long[] Dims, int Type, long Offset)> Tensors { get; } = [];

        public long DataStart { get; }

        public long DataBytes => file.Length - DataStart;

        public byte[] Bytes(string name)
        {
            (long[] dims, int type, long offset) = Tensors[name];
            return file.AsSpan((int)(DataStart + offset), (int)GgufWriterTests.Bytes(type, dims)).ToArray();
        }

        public ushort[][] Rows(string name) =>
            [.. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(Bytes(name)).ToArray().Chunk((int)Tensors[name].Dims[0])];

        static string Text(BinaryReader reader) => Encoding.UTF8.GetString(reader.ReadBytes((int)reader.ReadInt64()));
    }
}
