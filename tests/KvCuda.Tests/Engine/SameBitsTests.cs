using KvCuda.Engine;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Engine;

/// <summary>
/// What is promised of the CPU for whole models, with the kernels that its weights choose (AMX tiles for bf16 where there are some, integers
/// for int8): a request says the same, bit for bit, alone, beside others, in chunks of any length and with its beginning cached.
/// </summary>
public sealed class SameBitsTests
{
    // Matrices of 40 to 96 outputs: whole units of tiles, and last ones that overlap.
    const string Config = """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96,
         "max_position_embeddings": 128, "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "head_dim": 24,
         "rms_norm_eps": 1e-05, "rope_theta": 1000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 75,
         "bos_token_id": 1, "eos_token_id": 2}
        """;

    [Theory]
    [InlineData("stored")]
    [InlineData("int8")]
    public async Task A_request_says_the_same_alone_in_chunks_beside_others_and_again(string weights)
    {
        string folder = Directory.CreateTempSubdirectory("kvcuda-bits-").FullName;
        try
        {
            string path = Path.Combine(folder, "config.json");
            await File.WriteAllTextAsync(path, Config, TestContext.Current.CancellationToken);
            RandomModel.Write(folder, ModelConfig.LoadFile(path), _ => true, DType.BF16, seed: 3);
            var random = new Random(3);
            int[] beginning = [.. Enumerable.Range(0, 40).Select(_ => random.Next(3, 75))];
            int[][] prompts = [.. new[] { 1, 9, 20, 40, 57 }.Select(count =>
                (int[])[.. beginning.Take(count), .. Enumerable.Range(0, Math.Max(1, count - 40)).Select(_ => random.Next(3, 75))])];

            List<Heard>[]? expected = null;
            foreach ((int threads, int sequences, int stepTokens, string numerics) in
                new[] { (1, 1, 256, "consistent"), (2, 5, 256, "fast"), (3, 3, 7, "fast"), (2, 4, 19, "consistent") })
            {
                await using KvEngine engine = await KvEngine.LoadAsync(folder, new()
                {
                    Device = "cpu", Threads = threads, MaxSequences = sequences, MaxStepTokens = stepTokens, PageTokens = 16, Numerics = numerics,
                    Weights = weights, KvType = "bf16",
                }, cancellation: TestContext.Current.CancellationToken);
                // Each under a salt of its own finds nothing of the others; then all find what the first has left.
                for (int pass = 0; pass < 2; pass++)
                {
                    List<Heard>[] heard = await Task.WhenAll(prompts.Select((prompt, i) => Ask(engine, prompt, pass == 0 ? $"{i}" : "")));
                    expected ??= heard;
                    for (int i = 0; i < prompts.Length; i++)
                    {
                        Assert.True(expected[i].SequenceEqual(heard[i]),
                            $"{engine.Device}, {threads} threads, {sequences} sequences, {stepTokens} rows a step, pass {pass}: prompt {i} differs");
                    }
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task<List<Heard>> Ask(KvEngine engine, int[] prompt, string salt)
    {
        List<Heard> heard = [];
        await foreach (GeneratedPiece piece in engine.GenerateAsync(prompt, new() { MaxTokens = 12, IgnoreEos = true, Logprobs = 0, Salt = salt }))
        {
            if (piece.Token is { } token)
            {
                heard.Add(new(token, piece.Logprob!.Logprob));
            }
        }
        return heard;
    }
}
