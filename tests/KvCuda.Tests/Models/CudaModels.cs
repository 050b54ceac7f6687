using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Tests.Backends.Cuda;
using KvCuda.Tests.Weights;
using KvCuda.Weights;

namespace KvCuda.Tests.Models;

/// <summary>How a whole model is run: what a test crosses with prompts.</summary>
internal readonly record struct ModelRun(string Prefill, int PageTokens, bool Batch)
{
    public string? Sharing { get; init; }

    public string KvType { get; init; } = "f32";

    public Numerics Numerics { get; init; } = Numerics.Exact;

    public int MaxRows { get; init; } = 64;

    public override string ToString() => $"{Sharing ?? "native"}, {Prefill}, pages of {PageTokens}, {(Batch ? "batched" : "solo")}, KV {KvType}";
}

/// <summary>Whole models on any backend: the CPU's, and the CUDA backend on the host runner or a GPU.</summary>
internal static class CudaModels
{
    /// <summary>The flavour of the host runner that only runs (whole models take a minute under the checks), or the GPU.</summary>
    public static string Device => CudaBackendTests.Device == "cuda-host" ? "cuda-host:plain" : CudaBackendTests.Device;

    /// <summary>Logits and greedy tokens of the prompts, and what `--stats` would print.</summary>
    public static (IReadOnlyList<LogitsRun.Outcome> Outcomes, string[] Stats) Run(string folder, string device, IReadOnlyList<int[]> prompts,
        int greedy, ModelRun run)
    {
        PrefillMode mode = PrefillMode.Parse(run.Prefill);
        using LoadedModel model = LoadedModel.Load(folder, new()
        {
            Device = device,
            Threads = 1,
            NumericsClass = run.Numerics,
            Sharing = run.Sharing,
            PageTokens = run.PageTokens,
            KvType = run.KvType,
            MaxContext = prompts.Max(prompt => prompt.Length) + greedy,
            MaxSequences = run.Batch ? prompts.Count : 1,
            MaxStepTokens = mode.Kind == PrefillKind.Iterative ? Math.Max(run.MaxRows, prompts.Sum(prompt => prompt.Length)) : run.MaxRows,
            Prefill = mode,
        });
        LogitsRun logits = new(model, mode);
        IReadOnlyList<LogitsRun.Outcome> outcomes = run.Batch
            ? logits.Run(prompts, greedy)
            : [.. prompts.Select(prompt => logits.Run([prompt], greedy)[0])];
        return (outcomes, [.. model.Backend.Counters.Snapshot().Select(counter => counter.Name)]);
    }

    /// <summary>The two backends' outcomes are the same: tokens equal, logits within the tolerance of f32 sums in two orders.</summary>
    public static void ExpectEqual(IReadOnlyList<LogitsRun.Outcome> expected, IReadOnlyList<LogitsRun.Outcome> actual, string what, float tolerance = 2e-3f)
    {
        Assert.Equal(expected.Count, actual.Count);
        for (int prompt = 0; prompt < expected.Count; prompt++)
        {
            ExpectClose(expected[prompt].Logits, actual[prompt].Logits, $"{what}, prompt {prompt}", tolerance);
            Assert.True(expected[prompt].Greedy.AsSpan().SequenceEqual(actual[prompt].Greedy), $"{what}, prompt {prompt}: expected the tokens " +
                $"{string.Join(' ', expected[prompt].Greedy)}, got {string.Join(' ', actual[prompt].Greedy)}");
        }
    }

    public static void ExpectClose(float[] expected, float[] actual, string what, float tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int token = 0; token < expected.Length; token++)
        {
            Assert.True(Math.Abs(expected[token] - actual[token]) <= tolerance,
                $"{what}, logit {token}: expected {expected[token]}, got {actual[token]}");
        }
    }

    /// <summary>A Llama of random weights in a folder: every layer has weights for keys and values.</summary>
    public static void WriteRandom(TemporaryFolder folder, int layers, int heads, int kvHeads, int headDim, int hidden, int mlp, int vocabulary,
        DType type, int positions = 512, ulong seed = 1, string more = "")
    {
        string config = $$"""
            {"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":{{hidden}},"intermediate_size":{{mlp}},
             "num_attention_heads":{{heads}},"num_hidden_layers":{{layers}},"num_key_value_heads":{{kvHeads}},"head_dim":{{headDim}},
             "vocab_size":{{vocabulary}},"max_position_embeddings":{{positions}},"rms_norm_eps":1e-5,"rope_theta":10000,
             "hidden_act":"silu","tie_word_embeddings":false,
             "torch_dtype":"{{(type == DType.F32 ? "float32" : type == DType.F16 ? "float16" : "bfloat16")}}"{{more}}}
            """;
        folder.Write("config.json", config);
        RandomModel.Write(folder.ToString(), ModelConfig.Load(folder.ToString()), _ => true, type, seed);
    }

    /// <summary>A prompt of random tokens.</summary>
    public static int[] Prompt(int seed, int length, int vocabulary)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(vocabulary))];
    }
}
