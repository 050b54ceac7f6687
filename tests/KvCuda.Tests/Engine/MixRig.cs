using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Engine;

/// <summary>A clock that stands still until it is told to move, in milliseconds.</summary>
sealed class HandClock : TimeProvider
{
    public long Milliseconds { get; set; } = 1000;

    public override long TimestampFrequency => 1000;

    public override long GetTimestamp() => Milliseconds;
}

/// <summary>One token as a listener gets it: the choice, and the exact probability it had.</summary>
readonly record struct Heard(int Token, float Logprob);

/// <summary>
/// Tiny random models and engines that no thread runs, so that what happens in which order is the test's choice; and what each
/// request says when it is computed alone, by the definition.
/// </summary>
sealed class MixRig : IDisposable
{
    public const int Context = 64, Vocabulary = 40;

    const string Config = """
        {"architectures": ["LCKVLlamaForCausalLM"], "model_type": "lckv-llama", "hidden_act": "silu", "hidden_size": 16,
         "intermediate_size": 32, "max_position_embeddings": 64, "num_attention_heads": 2, "num_hidden_layers": 4,
         "num_key_value_heads": 1, "rms_norm_eps": 1e-05, "rope_theta": 100.0, "tie_word_embeddings": false,
         "torch_dtype": "float32", "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "layer_types": "0_1_2_3",
         "sliding_window": 5}
        """;

    readonly Dictionary<(string, string), KvEngine> cold = [];
    readonly Dictionary<string, (Heard[], FinishReason)> known = [];

    public string Folder { get; } = Directory.CreateTempSubdirectory("kvcuda-mixes-").FullName;

    public MixRig(int context = Context)
    {
        string path = Path.Combine(Folder, "config.json");
        File.WriteAllText(path, Config.Replace("\"max_position_embeddings\": 64", $"\"max_position_embeddings\": {context}", StringComparison.Ordinal));
        RandomModel.Write(Folder, ModelConfig.LoadFile(path), _ => true, DType.F32, seed: 5);
    }

    public KvEngine Engine(KvEngineOptions options, int pageTokens, PrefillMode? prefill = null) => new(
        LoadedModel.Load(Folder, options with { PageTokens = pageTokens, Prefill = prefill ?? PrefillMode.Converged }),
        null, options, ownThread: false);

    /// <summary>What a cold run of this prompt alone gives, one token after another where layers look upward.</summary>
    public (Heard[] Tokens, FinishReason Reason) Alone(string map, string kvType, int[] prompt, GenerateOptions asked)
    {
        string key = $"{map} {kvType} {string.Join(' ', prompt)} | {asked.MaxTokens} {asked.Temperature} {asked.RepetitionPenalty} {asked.Seed} {asked.IgnoreEos}";
        if (known.TryGetValue(key, out (Heard[], FinishReason) answer))
        {
            return answer;
        }
        if (!cold.TryGetValue((map, kvType), out KvEngine? engine))
        {
            var options = new KvEngineOptions
            {
                Device = "cpu", Threads = 1, Sharing = map, KvType = kvType, MaxSequences = 1, MaxStepTokens = 32, Numerics = "consistent",
            };
            cold[(map, kvType)] = engine = Engine(options, 16, PrefillMode.Parse("sequential"));
        }
        engine.Model.Store.ClearAll();
        IAsyncEnumerator<GeneratedPiece> pieces = engine.GenerateAsync(prompt, asked with { Salt = "", Cache = CacheScope.Shared, Retention = [] }).GetAsyncEnumerator();
        Task<bool> first = pieces.MoveNextAsync().AsTask();
        while (engine.Turn()) { }
        (List<Heard> heard, GenerationResult? result) = Listen(pieces, first);
        return known[key] = ([.. heard], result!.FinishReason);
    }

    /// <summary>Reads to the end what has been said.</summary>
    public static (List<Heard> Heard, GenerationResult? Result) Listen(IAsyncEnumerator<GeneratedPiece> pieces, Task<bool>? pending, List<Heard>? before = null)
    {
        List<Heard> heard = before ?? [];
        GenerationResult? result = null;
        try
        {
            for (Task<bool> next = pending ?? pieces.MoveNextAsync().AsTask(); next.GetAwaiter().GetResult(); next = pieces.MoveNextAsync().AsTask())
            {
                if (pieces.Current.Token is { } token)
                {
                    heard.Add(new(token, pieces.Current.Logprob!.Logprob));
                }
                result = pieces.Current.Result ?? result;
            }
        }
        finally
        {
            pieces.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
        return (heard, result);
    }

    public void Dispose()
    {
        foreach (KvEngine engine in cold.Values)
        {
            engine.Dispose();
        }
        Directory.Delete(Folder, recursive: true);
    }
}
