using System.Diagnostics;
using System.Globalization;
using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.GpuBench;

/// <summary>Whole models of random weights: prompts and decode steps as the engine runs them, timed by the wall clock.</summary>
internal static class EndToEnd
{
    /// <summary>Writes the model, loads it, measures, and removes it.</summary>
    /// <param name="device">as --device names it</param>
    /// <param name="shape">the model's size</param>
    /// <param name="type">weights and keys and values</param>
    /// <param name="prompt">tokens of each prompt</param>
    /// <param name="batches">how many sequences run together</param>
    /// <param name="steps">decode steps that are timed</param>
    public static IEnumerable<EndToEndResult> Run(
        string device, ModelShape shape, DType type, int prompt, IReadOnlyList<int> batches, int steps)
    {
        string folder = Directory.CreateTempSubdirectory("kvcuda-bench-").FullName;
        try
        {
            File.WriteAllText(Path.Combine(folder, "config.json"), Config(shape, type, prompt + steps + 8));
            ModelConfig config = ModelConfig.Load(folder);
            RandomModel.Write(folder, config, _ => true, type, seed: 1);
            foreach (int batch in batches)
            {
                using LoadedModel model = LoadedModel.Load(folder, new()
                {
                    Device = device,
                    MaxSequences = batch,
                    MaxRows = Math.Max(batch, 512),
                    KvType = type.Name(),
                    KvBudgetBytes = BytesPerToken(shape, type) * (prompt + steps + 72L) * batch * 5 / 4 + (64 << 20),
                });
                foreach (EndToEndResult result in Measure(model, shape, type, prompt, batch, steps))
                {
                    yield return result;
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static IEnumerable<EndToEndResult> Measure(LoadedModel model, ModelShape shape, DType type, int prompt, int batch, int steps)
    {
        var run = new LogitsRun(model, PrefillMode.Converged);
        var random = new Random(1);
        int[][] prompts = [.. Enumerable.Range(0, batch).Select(_ =>
            Enumerable.Range(0, prompt).Select(_ => random.Next(3, shape.Vocabulary)).ToArray())];
        double Seconds(int tokens)
        {
            long start = Stopwatch.GetTimestamp();
            run.Run(prompts, tokens);
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        _ = Seconds(4); // compiles, and captures the decode step
        double prefill = Median(() => Seconds(1)), whole = Median(() => Seconds(1 + steps));
        double step = Math.Max(whole - prefill, 1e-9) / steps;
        double weights = Parameters(shape) * type.Bytes();
        double visible = (double)batch * (prompt + steps / 2.0) * BytesPerToken(shape, type);
        if (batch == 1)
        {
            yield return new(shape.Name, $"prefill, {prompt} tokens, {type.Name()}", prompt / prefill, 0,
                2.0 * Parameters(shape) * prompt, prefill);
        }
        yield return new(shape.Name, $"decode, {batch} x {prompt} tokens, {type.Name()}", batch / step, weights + visible, 0, step);
    }

    static double Median(Func<double> measure)
    {
        double[] times = [measure(), measure(), measure()];
        Array.Sort(times);
        return times[1];
    }

    // What a token passes through: all but the embedding, of which it reads one row.
    static double Parameters(ModelShape s)
    {
        double queries = (double)s.Dim * s.Heads * s.HeadDim, keys = (double)s.Dim * s.KvHeads * s.HeadDim;
        return s.Layers * (2 * queries + 2 * keys + 3.0 * s.Dim * s.Hidden) + (double)s.Dim * s.Vocabulary;
    }

    static long BytesPerToken(ModelShape s, DType type) => 2L * s.Layers * s.KvHeads * s.HeadDim * type.Bytes();

    static string Config(ModelShape s, DType type, int context) => string.Create(CultureInfo.InvariantCulture, $$"""
        {
          "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
          "hidden_size": {{s.Dim}}, "intermediate_size": {{s.Hidden}}, "num_hidden_layers": {{s.Layers}},
          "num_attention_heads": {{s.Heads}}, "num_key_value_heads": {{s.KvHeads}}, "head_dim": {{s.HeadDim}},
          "vocab_size": {{s.Vocabulary}}, "max_position_embeddings": {{context}}, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
          "rope_scaling": null, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
          "torch_dtype": "{{(type == DType.F32 ? "float32" : type == DType.F16 ? "float16" : "bfloat16")}}"
        }
        """);
}
