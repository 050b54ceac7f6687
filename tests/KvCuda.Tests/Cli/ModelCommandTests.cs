using System.CommandLine;
using System.Text.Json;
using KvCuda.Cli;
using KvCuda.Tests.Weights;
using KvCuda.Weights;

namespace KvCuda.Tests.Cli;

public sealed class ModelCommandTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public ModelCommandTests() => folder.Write("config.json", """
        {"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":32,"intermediate_size":48,"num_attention_heads":4,
         "num_hidden_layers":8,"num_key_value_heads":2,"vocab_size":40,"max_position_embeddings":64,"torch_dtype":"float32","eos_token_id":2}
        """);

    public void Dispose() => folder.Dispose();

    static (int Code, string Output, string Error) Run(params string[] args)
    {
        using StringWriter output = new(), error = new();
        int code = CommandLine.Run(args, [InspectCommand.Create(), ConvertCommand.Create(), InitCommand.Create()], output, error);
        return (code, output.ToString(), error.ToString());
    }

    static string Succeed(params string[] args)
    {
        (int code, string output, string error) = Run(args);
        Assert.Equal("", error);
        Assert.Equal(0, code);
        return output;
    }

    [Fact]
    public void Init_then_convert_then_inspect()
    {
        folder.Write("tokenizer.json", """{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}""");
        Assert.Contains("random parameters (bf16", Succeed("init", folder["config.json"], folder["base"], "--dtype", "bf16"), StringComparison.Ordinal);
        Assert.Equal("LlamaForCausalLM", ModelConfig.Load(folder["base"]).Architecture);

        Succeed("convert", folder["base"], folder["shared"], "--sharing", "sandwich-middle:3");
        ModelConfig config = ModelConfig.Load(folder["shared"]);
        Assert.Equal(("LCKVLlamaForCausalLM", "0_3_3_3_3_3_3_7"), (config.Architecture, config.SharingMap));

        string report = Succeed("inspect", folder["shared"]);
        Assert.Contains("Layer sharing: sandwich-middle:3", report, StringComparison.Ordinal);
        Assert.Contains("3 of 8 layers own keys and values", report, StringComparison.Ordinal);
        Assert.Contains("      7  ■     owns", report, StringComparison.Ordinal);
        Assert.Contains("      6  ▼──┐  reads 3", report, StringComparison.Ordinal);
        Assert.Contains("      3  ■──┤  owns", report, StringComparison.Ordinal);
        Assert.Contains("      1  ▲──┘  reads 3       all, strictly earlier  iterated", report, StringComparison.Ordinal);
        Assert.Contains("A prompt iterates layers 1 to 3 (3 of 8)", report, StringComparison.Ordinal);
        // 2 (K, V) * 2 heads * 8 numbers * 3 owners: 384 bytes in f32.
        Assert.Matches(@"this map +384 +192", report);
        Assert.Matches(@"standard +1,024 +512", report);
        Assert.Contains("tokenizer   tokenizer.json", report, StringComparison.Ordinal);
        Assert.Contains("ends        2 (config.json)", report, StringComparison.Ordinal);
        Assert.DoesNotContain("EXPERIMENTAL", report, StringComparison.Ordinal);
        Assert.Contains("EXPERIMENTAL", Succeed("inspect", folder["base"], "--sharing", "cla:2"), StringComparison.Ordinal);

        Succeed("convert", folder["shared"], folder["back"], "--sharing", "standard");
        Assert.Equal(("LlamaForCausalLM", null), (ModelConfig.Load(folder["back"]).Architecture, ModelConfig.Load(folder["back"]).SharingMap));
    }

    [Fact]
    public void Inspect_as_JSON_says_the_same()
    {
        Succeed("init", folder.ToString(), folder["m"], "--sharing", "yoco:9");
        using JsonDocument json = JsonDocument.Parse(Succeed("inspect", folder["m"], "--json"));
        JsonElement root = json.RootElement, sharing = root.GetProperty("sharing");
        Assert.Equal(JsonValueKind.Null, root.GetProperty("refused").ValueKind);
        Assert.Equal("0s_1s_2s_3s_4_4_4_4", sharing.GetProperty("map").GetString());
        Assert.Equal(5, sharing.GetProperty("kv_layers").GetInt32());
        Assert.Equal(9, sharing.GetProperty("owners")[0].GetProperty("window").GetInt32());
        Assert.Equal(4, sharing.GetProperty("owners")[4].GetProperty("readers").GetArrayLength());
        Assert.Equal(5 * 128, sharing.GetProperty("kv_bytes_per_token").GetProperty("f32").GetInt32());
        Assert.Equal(JsonValueKind.Array, root.GetProperty("tensors").ValueKind);
    }

    [Theory]
    [InlineData(2, "Required argument", "inspect")]
    [InlineData(2, "Required command", "")]
    [InlineData(2, "Option '--sharing' is required", "convert a b")]
    [InlineData(1, "There is no model folder at", "inspect /nowhere/at/all")]
    [InlineData(1, "config.json does not exist", "init /nowhere/config.json /nowhere/out")]
    public void Exit_codes_tell_wrong_usage_from_a_failed_job(int code, string message, string args)
    {
        (int found, string output, string error) = Run(args.Split(' ', StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal(code, found);
        Assert.Equal("", output);
        Assert.StartsWith("kvcuda: ", error, StringComparison.Ordinal);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    [Fact]
    public void What_cannot_be_done_is_one_line_and_leaves_nothing_behind()
    {
        Succeed("init", folder["config.json"], folder["m"], "--sharing", "cla:2");
        (int code, _, string error) = Run("init", folder["config.json"], folder["m"]);
        Assert.Equal((1, 1), (code, error.Count(c => c == '\n')));
        Assert.Contains("already holds a model", error, StringComparison.Ordinal);
        Assert.Contains("has the layer sharing 0_0_2_2_4_4_6_6 already", Run("convert", folder["m"], folder["x"], "--sharing", "lasagna-bottom:4").Error, StringComparison.Ordinal);
        Assert.Contains("from 1 to 8", Run("convert", folder["m"], folder["x"], "--sharing", "pizza-top:9").Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["x"]));

        (code, string output, error) = Run("inspect", folder["m"], "--sharing", "standard");
        Assert.Equal(1, code);
        Assert.Contains("refused", output, StringComparison.Ordinal);
        Assert.Contains("the layer sharing in use makes layer 1 compute keys and values", error, StringComparison.Ordinal);
    }
}
