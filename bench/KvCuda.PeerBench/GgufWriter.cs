using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text;
using KvCuda.Tensors;
using KvCuda.Weights;
using Microsoft.Win32.SafeHandles;

namespace KvCuda.PeerBench;

/// <summary>
/// A Llama-like model as GGUF version 3 (github.com/ggml-org/ggml, docs/gguf.md), in the type it is stored in or as q8_0: the same
/// numbers for llama.cpp. Vectors are f32, as llama.cpp wants them; there is no tokenizer, only the vocabulary's size.
/// </summary>
internal static unsafe class GgufWriter
{
    const int Alignment = 32;

    // q8_0: groups of 32 numbers, each an f16 scale and 32 signed bytes; scale = largest magnitude / 127.
    const int GroupNumbers = 32, GroupBytes = 34;

    /// <summary>Why llama.cpp cannot run this model as KvCuda does; null: it can.</summary>
    public static string? Refusal(ModelConfig config, bool shares) => config switch
    {
        _ when shares => "its layers share keys and values",
        { Family: not (ModelFamily.Llama or ModelFamily.Mistral or ModelFamily.Qwen2 or ModelFamily.Qwen3) } =>
            $"the bench writes no GGUF for {config.Architecture}",
        { OutputBias: true } or { MlpBias: true } => "it has biases that the bench writes no GGUF for",
        { Rope: null } => "it has no rotary positions",
        { Rope: { } rope } when rope.RotatedDim != config.HeadDim || rope.Scale != 1 => "its rotary positions are partial or scaled",
        { Rope.Type: not "default", Family: ModelFamily.Qwen2 or ModelFamily.Qwen3 } => "its rotary positions are scaled",
        _ when config.Windows.Any(window => window > 0) => "it has sliding windows",
        _ => null,
    };

    /// <summary>Writes the file; it appears under its name when it is complete.</summary>
    /// <param name="path">the file</param>
    /// <param name="config">a model without <see cref="Refusal"/></param>
    /// <param name="weights">its weights, in host memory</param>
    /// <param name="quantise">matrices as q8_0</param>
    public static void Write(string path, ModelConfig config, ModelWeights weights, bool quantise)
    {
        var tensors = new List<(string Name, TensorRole Role, Tensor Tensor, int Type, long Offset, long Bytes)>();
        long end = 0;
        foreach ((TensorRole role, int layer, Tensor tensor) in weights.All)
        {
            bool quantised = quantise && tensor.Rows > 1 && tensor.Columns % GroupNumbers == 0;
            int type = tensor.Rows == 1 ? 0 : quantised ? 8 : tensor.Type switch { DType.F32 => 0, DType.F16 => 1, _ => 30 };
            long bytes = type switch { 0 => 4 * tensor.Count, 8 => tensor.Count / GroupNumbers * GroupBytes, _ => 2 * tensor.Count };
            tensors.Add((NameOf(role, layer), role, tensor, type, end, bytes));
            end += (bytes + Alignment - 1) / Alignment * Alignment;
        }
        float[]? factors = Factors(config.Rope!);
        byte[] header = Header(config, tensors, factors, end);
        string partial = path + ".partial";
        using (SafeFileHandle file = File.OpenHandle(partial, FileMode.Create, FileAccess.Write))
        {
            RandomAccess.Write(file, header, 0);
            foreach (var t in tensors)
            {
                bool permute = config.Family is ModelFamily.Llama or ModelFamily.Mistral && t.Role is TensorRole.Query or TensorRole.Key;
                WriteTensor(file, header.Length + t.Offset, t.Tensor, t.Type, permute ? config.HeadDim : 0);
            }
            if (factors is not null)
            {
                RandomAccess.Write(file, System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(factors), header.Length + end);
                end += 4L * factors.Length;
            }
            RandomAccess.SetLength(file, header.Length + end + Alignment);
        }
        File.Move(partial, path, overwrite: true);
    }

    static string NameOf(TensorRole role, int layer) => role switch
    {
        TensorRole.Embedding => "token_embd.weight",
        TensorRole.FinalNorm => "output_norm.weight",
        TensorRole.Head => "output.weight",
        TensorRole.AttentionNorm => $"blk.{layer}.attn_norm.weight",
        TensorRole.Query => $"blk.{layer}.attn_q.weight",
        TensorRole.QueryBias => $"blk.{layer}.attn_q.bias",
        TensorRole.QueryNorm => $"blk.{layer}.attn_q_norm.weight",
        TensorRole.Key => $"blk.{layer}.attn_k.weight",
        TensorRole.KeyBias => $"blk.{layer}.attn_k.bias",
        TensorRole.KeyNorm => $"blk.{layer}.attn_k_norm.weight",
        TensorRole.Value => $"blk.{layer}.attn_v.weight",
        TensorRole.ValueBias => $"blk.{layer}.attn_v.bias",
        TensorRole.Output => $"blk.{layer}.attn_output.weight",
        TensorRole.MlpNorm => $"blk.{layer}.ffn_norm.weight",
        TensorRole.Gate => $"blk.{layer}.ffn_gate.weight",
        TensorRole.Up => $"blk.{layer}.ffn_up.weight",
        TensorRole.Down => $"blk.{layer}.ffn_down.weight",
        _ => throw new UnsupportedModelException($"The bench has no GGUF name for {role}."),
    };

    // llama.cpp rotates by base^(-2i/dim) / factor[i]; with the base 10000 the factors say any frequencies.
    static float[]? Factors(Rope rope) => rope.Type == "default" ? null
        : [.. rope.InverseFrequencies.Select((f, i) => (float)(Math.Pow(10000, -2.0 * i / rope.RotatedDim) / f))];

    static byte[] Header(ModelConfig config,
        List<(string Name, TensorRole Role, Tensor Tensor, int Type, long Offset, long Bytes)> tensors, float[]? factors, long end)
    {
        string architecture = config.Family switch { ModelFamily.Qwen2 => "qwen2", ModelFamily.Qwen3 => "qwen3", _ => "llama" };
        Rope rope = config.Rope!;
        double theta = factors is not null || rope.InverseFrequencies.Length < 2
            ? 10000 : Math.Pow(rope.InverseFrequencies[1], -rope.RotatedDim / 2.0);
        (string Key, object Value)[] keys =
        [
            ("general.architecture", architecture),
            ("general.name", "bench"),
            ($"{architecture}.context_length", config.MaxPositions),
            ($"{architecture}.embedding_length", config.HiddenSize),
            ($"{architecture}.block_count", config.Layers),
            ($"{architecture}.feed_forward_length", config.MlpSize),
            ($"{architecture}.attention.head_count", config.Heads),
            ($"{architecture}.attention.head_count_kv", config.KvHeads),
            ($"{architecture}.attention.key_length", config.HeadDim),
            ($"{architecture}.attention.value_length", config.HeadDim),
            ($"{architecture}.attention.layer_norm_rms_epsilon", config.NormEpsilon),
            ($"{architecture}.rope.dimension_count", config.HeadDim),
            ($"{architecture}.rope.freq_base", (float)theta),
            ($"{architecture}.vocab_size", config.Vocabulary),
            ("tokenizer.ggml.model", "no_vocab"),
        ];
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write("GGUF"u8);
        writer.Write(3);
        writer.Write((long)(tensors.Count + (factors is null ? 0 : 1)));
        writer.Write((long)keys.Length);
        foreach ((string key, object value) in keys)
        {
            Text(writer, key);
            switch (value)
            {
                case int number: writer.Write(4); writer.Write(number); break;
                case float number: writer.Write(6); writer.Write(number); break;
                case string text: writer.Write(8); Text(writer, text); break;
            }
        }
        foreach (var t in tensors)
        {
            Text(writer, t.Name);
            writer.Write(t.Tensor.Rows == 1 ? 1 : 2);
            writer.Write((long)t.Tensor.Columns); // innermost first
            if (t.Tensor.Rows > 1)
            {
                writer.Write((long)t.Tensor.Rows);
            }
            writer.Write(t.Type);
            writer.Write(t.Offset);
        }
        if (factors is not null)
        {
            Text(writer, "rope_freqs.weight");
            writer.Write(1);
            writer.Write((long)factors.Length);
            writer.Write(0);
            writer.Write(end);
        }
        while (stream.Length % Alignment != 0)
        {
            writer.Write((byte)0);
        }
        return stream.ToArray();
    }

    static void Text(BinaryWriter writer, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        writer.Write((long)bytes.Length);
        writer.Write(bytes);
    }

    static void WriteTensor(SafeFileHandle file, long offset, in Tensor tensor, int type, int headDim)
    {
        Tensor source = tensor;
        int columns = source.Columns, rowBytes = type switch { 0 => 4 * columns, 8 => columns / GroupNumbers * GroupBytes, _ => 2 * columns };
        int block = Math.Max(1, (1 << 22) / rowBytes);
        Parallel.For(0, (source.Rows + block - 1) / block, b =>
        {
            int first = b * block, count = Math.Min(block, source.Rows - first);
            byte[] bytes = new byte[(long)count * rowBytes];
            float[] row = new float[columns];
            for (int r = 0; r < count; r++)
            {
                byte* from = (byte*)source.Address + (long)Permuted(first + r, headDim) * columns * source.Type.Bytes();
                Span<byte> to = bytes.AsSpan(r * rowBytes, rowBytes);
                if (type is 1 or 30)
                {
                    new ReadOnlySpan<byte>(from, rowBytes).CopyTo(to);
                    continue;
                }
                Widen(row, from, source.Type);
                if (type == 0)
                {
                    System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(row).CopyTo(to);
                }
                else
                {
                    Quantise(to, row);
                }
            }
            RandomAccess.Write(file, bytes, offset + (long)first * rowBytes);
        });
    }

    // GGUF's Llama rotates neighbours where Hugging Face's rotates halves: row 2i of a head is row i, row 2i+1 is row i + dim/2.
    static int Permuted(int row, int headDim)
    {
        if (headDim == 0)
        {
            return row;
        }
        int within = row % headDim;
        return row - within + within / 2 + within % 2 * (headDim / 2);
    }

    static void Widen(Span<float> row, byte* from, DType type)
    {
        for (int i = 0; i < row.Length; i++)
        {
            row[i] = type switch
            {
                DType.F32 => ((float*)from)[i],
                DType.F16 => (float)((Half*)from)[i],
                _ => BF16.ToSingle(((ushort*)from)[i]),
            };
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Quantise(Span<byte> to, ReadOnlySpan<float> row)
    {
        for (int g = 0; g < row.Length / GroupNumbers; g++)
        {
            ReadOnlySpan<float> numbers = row.Slice(g * GroupNumbers, GroupNumbers);
            float largest = 0;
            foreach (float number in numbers)
            {
                largest = Math.Max(largest, Math.Abs(number));
            }
            float scale = largest / 127, inverse = scale > 0 ? 1 / scale : 0;
            Span<byte> group = to.Slice(g * GroupBytes, GroupBytes);
            BinaryPrimitives.WriteHalfLittleEndian(group, (Half)scale);
            for (int i = 0; i < GroupNumbers; i++)
            {
                group[2 + i] = (byte)(sbyte)MathF.Round(numbers[i] * inverse, MidpointRounding.AwayFromZero);
            }
        }
    }
}
